import type { CacheSize } from '../artefacts/evaluation-result.ts';
import { cacheWidth, type LayerCacheLayout } from '../model/decoder-shape.ts';

/** What decides the size of a cache: the layout of each layer. A `DecoderShape` is one. */
export interface CachedLayers {
  layers: readonly { cache: LayerCacheLayout }[];
}

/** How wide a number is, and whether a slot has a word before its numbers: codes, with a scale and an offset of half precision each. */
const storedNumbers = {
  f32: { bits: 32, coded: false },
  f16: { bits: 16, coded: false },
  fp8: { bits: 8, coded: false },
  int8: { bits: 8, coded: true },
  int4: { bits: 4, coded: true },
} as const;

/**
 * How a cache keeps its numbers, one token by itself: floats of 32, 16 or 8 bits (E4M3, arXiv 2209.05433), or codes of one token's
 * slot.
 */
export type CacheDtype = keyof typeof storedNumbers;

/** Every dtype of a cache. */
export const cacheDtypes = Object.keys(storedNumbers) as readonly CacheDtype[];

/** 32-bit words of a slot: how many numbers lie in each, and how many stand before them. */
export function slotWords(dtype: CacheDtype): { numbersPerWord: number; headerWords: number } {
  const { bits, coded } = storedNumbers[dtype];
  return { numbersPerWord: 32 / bits, headerWords: coded ? 1 : 0 };
}

/** 32-bit words that one slot of `width` numbers takes in the cache. */
export function cacheSlotWords(width: number, dtype: CacheDtype): number {
  const { numbersPerWord, headerWords } = slotWords(dtype);
  return headerWords + Math.ceil(width / numbersPerWord);
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
