import fc from 'fast-check';
import { expect, it } from 'vitest';
import { stockLayout } from '../model/decoder-shape.ts';
import { type CacheDtype, cacheBytes, cacheEntryWords, cacheSize, codedCacheSize } from './cache-bytes.ts';

const shape = { layers: [{ cache: stockLayout(4, 32) }, { cache: stockLayout(2, 32) }] };

it('agrees with the element count in f32', () => {
  expect(cacheBytes(shape, { dtype: 'f32', capacity: 10, batch: 3 })).toBe(30 * cacheSize(shape, 4).bytesPerToken);
});

it.each<[CacheDtype, number]>([
  ['f32', 256],
  ['f16', 128],
  ['fp8', 64],
  // A word of scale and offset for each of the eight slots.
  ['int8', 64 + 8],
  ['int4', 32 + 8],
])('counts the words of an entry in %s', (dtype, words) => {
  expect(cacheEntryWords(stockLayout(4, 32), dtype)).toBe(words);
});

it('fills up the last word of a slot', () => {
  const layout = { keySlots: 1, keySlotWidth: 9, valueSlots: 2, valueSlotWidth: 3, keys: 'latent' as const };
  expect(cacheEntryWords(layout, 'f16')).toBe(5 + 2 * 2);
  expect(cacheEntryWords(layout, 'int4')).toBe(3 + 2 * 2);
});

it('grouped-query attention takes 2 x layers x KV heads x head width x bytes', () => {
  const sizes = fc.integer({ min: 1, max: 64 });
  fc.assert(
    fc.property(sizes, sizes, sizes, fc.constantFrom(1, 2, 4), (numLayers, heads, headDim, bytes) => {
      const layers = Array.from({ length: numLayers }, () => ({ cache: stockLayout(heads, headDim) }));
      expect(cacheSize({ layers }, bytes).bytesPerToken).toBe(2 * numLayers * heads * headDim * bytes);
    }),
  );
});

it('latent keys and per-layer counts add up by layer', () => {
  const latent = { keySlots: 1, keySlotWidth: 96, valueSlots: 2, valueSlotWidth: 32, keys: 'latent' as const };
  const size = cacheSize({ layers: [{ cache: latent }, { cache: stockLayout(3, 32) }] }, 4);
  expect(size.elementsPerTokenByLayer).toEqual([160, 192]);
  expect(size.bytesPerToken).toBe(1408);
});

// Slots of 32 numbers: 128, 64, 32, 4 + 32 and 4 + 16 bytes; 2 x 4 of them in the first layer, 2 x 2 in the second.
it.each([
  ['f32', 128],
  ['f16', 64],
  ['fp8', 32],
  ['int8', 36],
  ['int4', 20],
] as const)('counts the scales of %s', (dtype, slotBytes) => {
  expect(codedCacheSize(shape, dtype)).toEqual({
    bytesPerToken: 12 * slotBytes,
    bytesPerElement: slotBytes / 32,
    elementsPerTokenByLayer: [256, 128],
  });
});
