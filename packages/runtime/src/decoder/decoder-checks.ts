import { cacheBytes, type DecoderShape, KvlrError } from '@kvlr/core';
import type { BackendName } from '../backends/select-backend.ts';
import { type CacheSettings, resolveCacheSettings } from '../cache/cache-settings.ts';
import { KeyValueCache } from '../cache/key-value-cache.ts';

/** Most bytes of a cache: what WebAssembly addresses, and more than any one processor or device has. */
const maxCacheBytes = { wasm: 2 ** 32, cpu: 2 ** 36, webgpu: 2 ** 40 } as const;
/** Sequences side by side: each has lists of its own on the host. */
const maxBatch = 65_536;

/** Throws 'invalid-argument' for a text beyond the model's last position. */
export function checkPositions({ maxPositionEmbeddings }: DecoderShape, tokens: number): void {
  // What has no length is refused as no list.
  if (!(tokens > maxPositionEmbeddings)) return;
  throw new KvlrError('invalid-argument', {
    message: `expected a text of at most ${maxPositionEmbeddings} tokens, got ${tokens}.`,
    hint: 'Shorten the text, for the model knows no positions beyond, or give the cache a window.',
    where: { argument: 'tokenIds' },
    data: { maxPositionEmbeddings, tokens },
  });
}

/** Throws 'invalid-argument' for what is no list of a vocabulary's ids. */
export function checkTokens({ vocabSize }: DecoderShape, tokenIds: ArrayLike<number>): void {
  if (typeof tokenIds?.length !== 'number') {
    throw new KvlrError('invalid-argument', {
      message: `expected a list of token ids, got ${tokenIds === null ? 'null' : typeof tokenIds}.`,
      where: { argument: 'tokenIds' },
    });
  }
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < vocabSize;
  // No copy: a list may claim any length.
  let place = 0;
  while (place < tokenIds.length && isId(tokenIds[place])) place++;
  if (tokenIds.length > 0 && place === tokenIds.length) return;
  const foreign = tokenIds[place];
  const received = tokenIds.length === 0 ? 'none' : JSON.stringify(foreign);
  throw new KvlrError('invalid-argument', {
    message: `expected at least one token id, each from 0 to ${vocabSize - 1}, got ${received}.`,
    where: { argument: 'tokenIds' },
    data: { vocabSize, tokenId: foreign },
  });
}

/** Throws 'invalid-argument' for what is no cache in use of a model of this shape. */
export function checkCache(cache: KeyValueCache): void {
  if (!(cache instanceof KeyValueCache)) {
    throw new KvlrError('invalid-argument', {
      message: `expected a cache of createCache, got ${cache === null ? 'null' : typeof cache}.`,
      where: { argument: 'cache' },
    });
  }
  cache.requireUse();
}

/** Throws 'memory-exceeded' for a cache larger than a tensor can be, before anything is taken for it. */
export function checkCacheSize(shape: DecoderShape, backend: BackendName, settings: CacheSettings): void {
  const { batch, capacity, pageTokens, ...storage } = resolveCacheSettings(settings);
  const bytes = cacheBytes(shape, { ...storage, capacity: capacity ?? pageTokens, batch });
  const most = maxCacheBytes[backend];
  if (bytes <= most && batch <= maxBatch) return;
  throw new KvlrError('memory-exceeded', {
    message: `expected a cache of at most ${most} bytes and ${maxBatch} sequences, got ${bytes} bytes and ${batch} sequences.`,
    hint: 'Ask for fewer tokens or sequences, or for a smaller dtype.',
    where: { argument: 'capacity' },
    data: { bytes, maxBytes: most, batch, maxBatch },
  });
}
