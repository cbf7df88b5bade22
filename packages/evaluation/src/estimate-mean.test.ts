import { createNormalRandom } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { estimateMean } from './estimate-mean.ts';

describe('estimateMean', () => {
  it('gives the mean and the textbook standard error for one source', () => {
    const means = [2, 4, 4, 4, 5, 5, 7, 9];
    const windows = means.map((mean) => ({ source: 'a', mean }));
    const estimate = estimateMean(windows, 10);
    expect(estimate.value).toBe(5);
    expect(estimate.standardError).toBeCloseTo(Math.sqrt(32 / 7) / Math.sqrt(8), 12);
    expect(estimate.tokenCount).toBe(80);
  });

  it('does not count the distance between sources as uncertainty', () => {
    const windows = [1, 1.2, 0.8].flatMap((mean) => [
      { source: 'near', mean },
      { source: 'far', mean: mean + 100 },
    ]);
    expect(estimateMean(windows, 1).standardError).toBeCloseTo(Math.sqrt(0.16 / 4 / 6), 12);
  });

  it('knows no error when every source has one window', () => {
    const windows = [
      { source: 'a', mean: 1 },
      { source: 'b', mean: 2 },
    ];
    expect(estimateMean(windows, 1)).toEqual({ value: 1.5, standardError: undefined, tokenCount: 2 });
  });

  it('covers the true mean about as often as its error says', () => {
    const normal = createNormalRandom(5);
    let covered = 0;
    const repetitions = 2000;
    for (let i = 0; i < repetitions; i++) {
      const windows = Array.from({ length: 24 }, (_, w) => ({ source: String(w % 3), mean: (w % 3) * 4 + normal() }));
      const { value, standardError } = estimateMean(windows, 1);
      if (Math.abs(value - 4) < 1.96 * standardError!) covered++;
    }
    expect(covered / repetitions).toBeGreaterThan(0.92);
    expect(covered / repetitions).toBeLessThan(0.97);
  });
});
