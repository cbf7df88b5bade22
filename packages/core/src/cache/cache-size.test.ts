import fc from 'fast-check';
import { expect, test } from 'vitest';
import { stockLayout } from '../model/decoder-shape.ts';
import { cacheSize } from './cache-size.ts';

test('grouped-query attention takes 2 x layers x KV heads x head width x bytes', () => {
  const sizes = fc.integer({ min: 1, max: 64 });
  fc.assert(
    fc.property(sizes, sizes, sizes, fc.constantFrom(1, 2, 4), (numLayers, heads, headDim, bytes) => {
      const layers = Array.from({ length: numLayers }, () => stockLayout(heads, headDim));
      expect(cacheSize({ layers }, bytes).bytesPerToken).toBe(2 * numLayers * heads * headDim * bytes);
    }),
  );
});

test('latent keys and per-layer counts add up by layer', () => {
  const latent = { keySlots: 1, keySlotWidth: 96, valueSlots: 2, valueSlotWidth: 32, keys: 'latent' as const };
  const size = cacheSize({ layers: [latent, stockLayout(3, 32)] }, 4);
  expect(size.elementsPerTokenByLayer).toEqual([160, 192]);
  expect(size.bytesPerToken).toBe(1408);
});
