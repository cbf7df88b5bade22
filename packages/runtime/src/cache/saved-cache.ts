import { adaptedBitsOf, BLOCK_TOKENS, type DecoderShape, KvlrError } from '@kvlr/core';
import { writeInPlace } from '@kvlr/kernels';
import type { CacheSettings } from './cache-settings.ts';
import { KeyValueCache } from './key-value-cache.ts';

const CACHE_MAGIC = 'KVLRKV02';

/** What a saved cache says of itself, as JSON behind the magic and its length. */
interface SavedCacheHeader {
  /** Content hash of the model whose keys and values these are. */
  modelId: string;
  settings: KeyValueCache['settings'];
  /** Words of an entry in each layer, and of a block (0 where there are none). */
  entryWords: number[];
  blockWords: number[];
  /** Blocks of each sequence. */
  packedBlocks: number[];
  tokenIds: number[][];
}

/**
 * The entries that a cache holds as bytes: the magic, the length of the header as 32 bits, the header, then for every layer and
 * sequence its entries, and its blocks, little-endian. `loadCache` brings them back.
 */
export async function saveCache(cache: KeyValueCache, modelId: string): Promise<Uint8Array> {
  if (cache.coded || adaptedBitsOf(cache.dtype) !== undefined) {
    const got = cache.coded ? `one of the codec "${cache.coded.cache.codec.title}"` : `one of ${cache.dtype}`;
    throw new KvlrError('unsupported-feature', {
      message: `expected a cache of a dtype to save, one that is not fitted to the model, got ${got}.`,
      hint: 'Keep the text instead, or take a dtype such as int4 or channel-3.',
      where: { argument: 'cache' },
    });
  }
  const { settings, tokenIds, packedBlocks, batch } = cache;
  const header: SavedCacheHeader = { modelId, settings, ...wordsOfPlaces(cache), tokenIds, packedBlocks };
  const text = new TextEncoder().encode(CACHE_MAGIC + JSON.stringify(header));
  const start = Math.ceil((text.length + 4) / 4) * 4;
  const bytes = new Uint8Array(start + cache.usedBytes).fill(0x20, 0, start);
  bytes.set(text.subarray(0, CACHE_MAGIC.length));
  new DataView(bytes.buffer).setUint32(CACHE_MAGIC.length, start - CACHE_MAGIC.length - 4, true);
  bytes.set(text.subarray(CACHE_MAGIC.length), CACHE_MAGIC.length + 4);
  const words = new Int32Array(bytes.buffer, start);
  let written = 0;
  for (let layer = 0; layer < cache.formats.length; layer++) {
    for (const part of cache.partsOf(layer)) {
      const [, places, width] = part.words.shape;
      const held = (await part.words.data()) as Int32Array;
      for (let sequence = 0; sequence < batch; sequence++) {
        const from = sequence * places * width;
        const count = part.counts[sequence]! * width;
        words.set(held.subarray(from, from + count), written);
        written += count;
      }
    }
  }
  return bytes;
}

/** Words of an entry and of a block in each layer. */
function wordsOfPlaces({ formats }: KeyValueCache): Pick<SavedCacheHeader, 'entryWords' | 'blockWords'> {
  return {
    entryWords: formats.map(({ entries }) => entries.entryWords),
    blockWords: formats.map(({ blocks }) => blocks?.blockWords ?? 0),
  };
}

/**
 * A cache from the bytes of `saveCache`, on the active backend. Throws 'file-malformed' or 'file-truncated' for bytes that are no
 * whole cache, 'cache-mismatch' for the cache of another model.
 *
 * @param checkSize Throws where there is no room for such a cache; asked before anything is taken for it.
 */
export function loadCache(
  bytes: Uint8Array,
  shape: DecoderShape,
  modelId: string,
  checkSize: (settings: CacheSettings) => void,
): KeyValueCache {
  const { header, start } = readHeader(bytes, shape.vocabSize);
  if (header.modelId !== modelId) {
    throw new KvlrError('cache-mismatch', {
      message: `expected the cache of model ${modelId}, got one of model ${header.modelId}.`,
      hint: 'Load it into the model that made it, or run the prompt again.',
      data: { expected: modelId, received: header.modelId },
    });
  }
  const { capacity, ...settings } = header.settings;
  const fixed = settings.window === 0 && capacity !== undefined ? { capacity } : {};
  checkSize(settings.window > 0 ? settings : { ...settings, capacity: Math.max(capacity ?? 1, placesOf(header)) });
  const cache = new KeyValueCache(shape, { ...settings, ...fixed });
  try {
    const { entryWords, blockWords } = wordsOfPlaces(cache);
    const expected = [entryWords, blockWords].join();
    const received = [header.entryWords, header.blockWords].join();
    if (expected !== received || header.tokenIds.length !== cache.batch) {
      throw new KvlrError('cache-mismatch', {
        message: `expected entries and blocks of [${expected}] words, got [${received}].`,
        hint: 'Run the prompt again: the cache was made by another version of the model or of kvlr.',
        data: { expected, received },
      });
    }
    cache.reserve(Math.max(...header.tokenIds.map((ids) => ids.length)));
    cache.advance(header.tokenIds);
    takeBlocks(cache, header.packedBlocks);
    if (bytes.length !== start + cache.usedBytes) {
      throw new KvlrError('file-truncated', {
        message: `expected ${start + cache.usedBytes} bytes, got ${bytes.length}.`,
        data: { expected: start + cache.usedBytes, received: bytes.length },
      });
    }
    // A copy begins at a multiple of four, as words must.
    const words = new Int32Array(bytes.slice(start).buffer);
    let read = 0;
    for (let layer = 0; layer < cache.formats.length; layer++) {
      for (const part of cache.partsOf(layer)) {
        const [, places, width] = part.words.shape;
        part.counts.forEach((taken, sequence) => {
          const count = taken * width;
          writeInPlace(part.words, sequence * places * width, words.subarray(read, read + count));
          read += count;
        });
      }
    }
    return cache;
  } catch (error) {
    cache.dispose();
    throw error;
  }
}

/** Room for the longest sequence, and for as many blocks as there were before it was cut. */
function placesOf({ settings, tokenIds, packedBlocks }: SavedCacheHeader): number {
  const exact = settings.exactFirst + settings.exactWindow;
  const ofBlocks = packedBlocks.map((count) => (count > 0 ? exact + BLOCK_TOKENS * count : 0));
  return Math.max(settings.pageTokens, ...tokenIds.map((ids) => ids.length), ...ofBlocks);
}

/** Blocks that a cache had when it was saved: more than its tokens alone say, where it was cut. */
function takeBlocks(cache: KeyValueCache, packedBlocks: readonly number[]): void {
  const { exactFirst, exactWindow } = cache.settings;
  cache.lengths.forEach((length, b) => {
    const count = packedBlocks[b]!;
    const isPossible =
      Number.isInteger(count) &&
      count >= cache.packedBlocks[b]! &&
      (count === 0 || exactFirst + BLOCK_TOKENS * count <= length);
    if (isPossible) return;
    throw new KvlrError('file-malformed', {
      message: `expected at least ${cache.packedBlocks[b]} blocks in ${length} tokens, got ${count}.`,
      data: { length, packedBlocks },
    });
  });
  // Room for as many blocks as there were before it was cut.
  const whole = Math.max(
    ...packedBlocks.map((count) => (count > 0 ? exactFirst + exactWindow + BLOCK_TOKENS * count : 0)),
  );
  cache.reserve(Math.max(0, whole - cache.length));
  cache.packedBlocks = [...packedBlocks];
}

function readHeader(bytes: Uint8Array, vocabSize: number): { header: SavedCacheHeader; start: number } {
  const magicLength = CACHE_MAGIC.length;
  const isCache =
    bytes.length >= magicLength + 4 && new TextDecoder().decode(bytes.subarray(0, magicLength)) === CACHE_MAGIC;
  const length = isCache ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(magicLength, true) : 0;
  const start = magicLength + 4 + length;
  if (isCache && start <= bytes.length) {
    try {
      const header: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(magicLength + 4, start)));
      if (isHeader(header, vocabSize)) return { header, start };
    } catch {
      // Said below, with the other malformations.
    }
  }
  throw new KvlrError('file-malformed', {
    message: `expected the bytes of a saved cache, which begin with ${CACHE_MAGIC}, got others.`,
    data: { byteLength: bytes.length },
  });
}

/** Whether every field has its type, and sequences are what they are said to be. */
function isHeader(value: unknown, vocabSize: number): value is SavedCacheHeader {
  const { modelId, settings, entryWords, blockWords, packedBlocks, tokenIds } = Object(value) as SavedCacheHeader;
  const counts = (list: unknown, below: number) =>
    Array.isArray(list) && list.every((count) => Number.isInteger(count) && count >= 0 && count < below);
  return (
    typeof modelId === 'string' &&
    [entryWords, blockWords, packedBlocks].every((list) => counts(list, 2 ** 31)) &&
    Array.isArray(tokenIds) &&
    tokenIds.length > 0 &&
    tokenIds.every((ids) => counts(ids, vocabSize)) &&
    tokenIds.length === packedBlocks.length &&
    areSettings(settings, tokenIds.length)
  );
}

function areSettings(settings: SavedCacheHeader['settings'], batch: number): boolean {
  const { capacity, pageTokens, window, sinks, exactFirst, exactWindow } = Object(settings) as typeof settings;
  const counts = [pageTokens, window, sinks, exactFirst, exactWindow, ...(capacity === undefined ? [] : [capacity])];
  return counts.every((count) => Number.isInteger(count) && count >= 0) && settings.batch === batch;
}
