import { entriesOfLength } from '@kvlr/kernels';
import type { KeyValueCache } from './key-value-cache.ts';

export const CACHE_MAGIC = 'KVLRKV01';

/** What a saved cache says of itself, as JSON behind the magic and its length. */
export interface SavedCacheHeader {
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
