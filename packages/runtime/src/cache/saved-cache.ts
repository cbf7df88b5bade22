import { type DecoderShape, KvlrError } from '@kvlr/core';
import { entriesOfLength, writeInPlace } from '@kvlr/kernels';
import { KeyValueCache } from './key-value-cache.ts';

const CACHE_MAGIC = 'KVLRKV01';

/** What a saved cache says of itself, as JSON behind the magic and its length. */
interface SavedCacheHeader {
  /** Content hash of the model whose keys and values these are. */
  modelId: string;
  settings: KeyValueCache['settings'];
  /** Words of an entry in each layer. */
  entryWords: number[];
  tokenIds: number[][];
}

/**
 * The entries that a cache holds as bytes: the magic, the length of the header as 32 bits, the header, then for every layer and
 * sequence its entries, little-endian. `loadCache` brings them back.
 */
export async function saveCache(cache: KeyValueCache, modelId: string): Promise<Uint8Array> {
  const { settings, tokenIds, formats, batch, capacity } = cache;
  const entryWords = formats.map((format) => format.entryWords);
  const header: SavedCacheHeader = { modelId, settings, entryWords, tokenIds };
  const text = new TextEncoder().encode(CACHE_MAGIC + JSON.stringify(header));
  const start = Math.ceil((text.length + 4) / 4) * 4;
  const bytes = new Uint8Array(start + cache.usedBytes).fill(0x20, 0, start);
  bytes.set(text.subarray(0, CACHE_MAGIC.length));
  new DataView(bytes.buffer).setUint32(CACHE_MAGIC.length, start - CACHE_MAGIC.length - 4, true);
  bytes.set(text.subarray(CACHE_MAGIC.length), CACHE_MAGIC.length + 4);
  const words = new Int32Array(bytes.buffer, start);
  let written = 0;
  for (let layer = 0; layer < formats.length; layer++) {
    const width = entryWords[layer]!;
    const held = (await cache.wordsOf(layer).data()) as Int32Array;
    for (let sequence = 0; sequence < batch; sequence++) {
      const count = entriesOfLength(tokenIds[sequence]!.length, settings);
      const from = sequence * capacity * width;
      words.set(held.subarray(from, from + count * width), written);
      written += count * width;
    }
  }
  return bytes;
}

/**
 * A cache from the bytes of `saveCache`, on the active backend. Throws 'file-malformed' or 'file-truncated' for bytes that are no
 * whole cache, 'cache-mismatch' for the cache of another model.
 */
export function loadCache(bytes: Uint8Array, shape: DecoderShape, modelId: string): KeyValueCache {
  const { header, start } = readHeader(bytes);
  if (header.modelId !== modelId) {
    throw new KvlrError('cache-mismatch', {
      message: `expected the cache of model ${modelId}, got one of model ${header.modelId}.`,
      hint: 'Load it into the model that made it, or run the prompt again.',
      data: { expected: modelId, received: header.modelId },
    });
  }
  const { dtype, batch, capacity, pageTokens, window, sinks } = header.settings;
  const fixed = window === 0 && capacity !== undefined ? { capacity } : {};
  const cache = new KeyValueCache(shape, { dtype, batch, pageTokens, window, sinks, ...fixed });
  try {
    const widths = cache.formats.map(({ entryWords }) => entryWords);
    if (widths.join() !== header.entryWords.join() || header.tokenIds.length !== batch) {
      throw new KvlrError('cache-mismatch', {
        message: `expected entries of [${widths}] words, got [${header.entryWords}].`,
        hint: 'Run the prompt again: the cache was made by another version of the model or of kvlr.',
        data: { expected: widths, received: header.entryWords },
      });
    }
    const lengths = header.tokenIds.map((ids) => ids.length);
    cache.reserve(Math.max(...lengths));
    cache.advance(header.tokenIds);
    if (bytes.length !== start + cache.usedBytes) {
      throw new KvlrError('file-truncated', {
        message: `expected ${start + cache.usedBytes} bytes, got ${bytes.length}.`,
        data: { expected: start + cache.usedBytes, received: bytes.length },
      });
    }
    // A copy begins at a multiple of four, as words must.
    const words = new Int32Array(bytes.slice(start).buffer);
    let read = 0;
    widths.forEach((width, layer) => {
      lengths.forEach((length, sequence) => {
        const count = entriesOfLength(length, cache.window) * width;
        writeInPlace(cache.wordsOf(layer), sequence * cache.capacity * width, words.subarray(read, read + count));
        read += count;
      });
    });
    return cache;
  } catch (error) {
    cache.dispose();
    throw error;
  }
}

function readHeader(bytes: Uint8Array): { header: SavedCacheHeader; start: number } {
  const magicLength = CACHE_MAGIC.length;
  const isCache =
    bytes.length >= magicLength + 4 && new TextDecoder().decode(bytes.subarray(0, magicLength)) === CACHE_MAGIC;
  const length = isCache ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(magicLength, true) : 0;
  const start = magicLength + 4 + length;
  if (isCache && start <= bytes.length) {
    try {
      const header: SavedCacheHeader = JSON.parse(new TextDecoder().decode(bytes.subarray(magicLength + 4, start)));
      if (Array.isArray(header.tokenIds) && Array.isArray(header.entryWords) && header.settings)
        return { header, start };
    } catch {
      // Said below, with the other malformations.
    }
  }
  throw new KvlrError('file-malformed', {
    message: `expected the bytes of a saved cache, which begin with ${CACHE_MAGIC}, got others.`,
    data: { byteLength: bytes.length },
  });
}
