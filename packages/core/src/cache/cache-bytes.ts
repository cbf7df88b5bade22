import type { CacheSize } from '../artefacts/evaluation-result.ts';
import { cacheWidth, type LayerCacheLayout } from '../model/decoder-shape.ts';

/** What decides the size of a cache: the layout of each layer. A `DecoderShape` is one. */
export interface CachedLayers {
  layers: readonly { cache: LayerCacheLayout }[];
}

/**
 * How a cache keeps its numbers. 'f16': halves, two in a word. 'int8', 'int4': codes of one token's slot, with a scale and an
 * offset of half precision each, in one word before them.
 */
export type CacheDtype = 'f32' | 'f16' | 'int8' | 'int4';

const numbersPerWord: Record<CacheDtype, number> = { f32: 1, f16: 2, int8: 4, int4: 8 };

/** 32-bit words that one slot of `width` numbers takes in the cache. */
export function cacheSlotWords(width: number, dtype: CacheDtype): number {
  const codes = Math.ceil(width / numbersPerWord[dtype]);
  return dtype === 'int8' || dtype === 'int4' ? codes + 1 : codes;
}

/** 32-bit words that one token's entry takes in one layer's cache, scales included. */
export function cacheEntryWords(layout: LayerCacheLayout, dtype: CacheDtype): number {
  const { keySlots, keySlotWidth, valueSlots, valueSlotWidth } = layout;
  return keySlots * cacheSlotWords(keySlotWidth, dtype) + valueSlots * cacheSlotWords(valueSlotWidth, dtype);
}

/** Exact bytes of a KV cache for `capacity` tokens of `batch` sequences (default 1), scales included. */
export function cacheBytes(
  shape: CachedLayers,
  settings: { dtype: CacheDtype; capacity: number; batch?: number },
): number {
  const { dtype, capacity, batch = 1 } = settings;
  const words = shape.layers.reduce((sum, { cache }) => sum + cacheEntryWords(cache, dtype), 0);
  return 4 * words * capacity * batch;
}

/**
 * Bytes of KV cache per token: the sum over layers of the cache width times the element size. For stock grouped-query
 * attention this is 2 x layers x KV heads x headDim x bytesPerElement.
 */
export function cacheSize(shape: CachedLayers, bytesPerElement: number): CacheSize {
  const elementsPerTokenByLayer = shape.layers.map(({ cache }) => cacheWidth(cache));
  const elements = elementsPerTokenByLayer.reduce((sum, width) => sum + width, 0);
  return { bytesPerToken: elements * bytesPerElement, bytesPerElement, elementsPerTokenByLayer };
}

/** Bytes of KV cache per token where the cache keeps its numbers in this dtype; `bytesPerElement` is the mean with scales. */
export function codedCacheSize(shape: CachedLayers, dtype: CacheDtype): CacheSize {
  const { elementsPerTokenByLayer } = cacheSize(shape, 1);
  const bytesPerToken = cacheBytes(shape, { dtype, capacity: 1 });
  const elements = elementsPerTokenByLayer.reduce((sum, width) => sum + width, 0);
  return { bytesPerToken, bytesPerElement: bytesPerToken / elements, elementsPerTokenByLayer };
}
