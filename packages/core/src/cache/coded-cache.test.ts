import { expect, it } from 'vitest';
import { stockLayout } from '../model/decoder-shape.ts';
import type { SideFormat } from './cache-codec.ts';
import { codecTableBytes, codedCacheBytes, codedTokens, halfCacheBytes, meanCodedCacheBytes } from './coded-cache.ts';

/** Codes of so many bits, in blocks of tokens, without scales. */
const format = (bits: number, blockTokens: number): SideFormat => ({
  ...{ blockTokens, keys: 'rotated', needsStatistics: false },
  byteLength: ({ slots, width }, tokens) => (bits / 8) * tokens * slots * width,
  tableBytes: ({ slots }) => slots,
  create: () => {
    throw new Error('not coded here');
  },
});
const shape = { layers: [{ cache: stockLayout(8, 32) }, { cache: stockLayout(4, 32) }] };
const cache = (bits: number, blockTokens: number, window = 0, first = 0) => ({
  codec: { title: '', keys: format(bits, blockTokens), values: format(bits, blockTokens) },
  ...{ window, first },
});

it.each([
  [0, 0],
  [35, 0],
  [36, 0],
  [67, 0],
  [68, 32],
  [99, 32],
  [100, 64],
])('of %i tokens %i are coded in blocks of 32 with 32 newest and 4 first exact', (tokens, coded) => {
  expect(codedTokens({ blockTokens: 32 }, { window: 32, first: 4 }, tokens)).toBe(coded);
});

it('exact tokens cost b + 36 (16 - b) / N bits a number', () => {
  for (const [bits, tokens] of [
    [2, 512],
    [4, 4096],
  ] as const) {
    const share = codedCacheBytes(shape, cache(bits, 1, 32, 4), tokens) / halfCacheBytes(shape, tokens);
    expect(16 * share).toBeCloseTo(bits + (36 * (16 - bits)) / tokens, 10);
  }
});

it('blocks hold half of their tokens exact on average, wherever the text ends', () => {
  const share = meanCodedCacheBytes(shape, cache(2, 32), 3200) / halfCacheBytes(shape, 3200);
  // 0 to 31 exact tokens: 15.5 on average.
  expect(16 * share).toBeCloseTo(2 + (15.5 * 14) / 3184, 1);
  expect(meanCodedCacheBytes(shape, cache(2, 1), 100)).toBeCloseTo(codedCacheBytes(shape, cache(2, 1), 100), 9);
});

it('tables are counted once for a model', () => {
  expect(codecTableBytes(shape, cache(2, 1).codec)).toBe(2 * (8 + 4));
});
