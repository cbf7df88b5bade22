import type { DecoderShape, LayerCacheLayout } from '../model/decoder-shape.ts';

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
  shape: Pick<DecoderShape, 'layers'>,
  settings: { dtype: CacheDtype; capacity: number; batch?: number },
): number {
  const { dtype, capacity, batch = 1 } = settings;
  const words = shape.layers.reduce((sum, layout) => sum + cacheEntryWords(layout, dtype), 0);
  return 4 * words * capacity * batch;
}
