import { expect, it } from 'vitest';
import { stockLayout } from '../model/decoder-shape.ts';
import { type CacheDtype, cacheBytes, cacheEntryWords } from './cache-bytes.ts';
import { cacheSize } from './cache-size.ts';

const layers = [stockLayout(4, 32), stockLayout(2, 32)];

it('agrees with the element count in f32', () => {
  expect(cacheBytes({ layers }, { dtype: 'f32', capacity: 10, batch: 3 })).toBe(
    30 * cacheSize({ layers }, 4).bytesPerToken,
  );
});

it.each<[CacheDtype, number]>([
  ['f32', 256],
  ['f16', 128],
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
