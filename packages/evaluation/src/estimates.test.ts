import { createNormalRandom, type WindowScores } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { comparePerplexities, estimateMean, exponentiate } from './estimates.ts';

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

describe('exponentiate', () => {
  it('has the error of the exponential for small errors', () => {
    const { value, standardError } = exponentiate({ value: 3, standardError: 1e-6 });
    expect(value).toBe(Math.exp(3));
    expect(standardError).toBeCloseTo((Math.exp(3 + 1e-6) - Math.exp(3 - 1e-6)) / 2, 12);
  });

  it('leaves an unknown error unknown', () => {
    expect(exponentiate({ value: 0, tokenCount: 4 })).toEqual({ value: 1, standardError: undefined, tokenCount: 4 });
  });
});

const sources = ['a', 'b', 'a', 'b', 'a', 'b'];
const scores = (negativeLogLikelihoods: number[], of = sources): WindowScores => ({
  sources: of,
  negativeLogLikelihoods,
});

describe('comparePerplexities', () => {
  it('agrees with the paired difference computed by hand', () => {
    const first = [3.1, 4.2, 2.9, 4.6, 3.3, 4.1];
    const second = [3.0, 4.0, 2.9, 4.5, 3.1, 4.1];
    const { perplexityRatio } = comparePerplexities(scores(first), scores(second), 512);
    // Differences: a: 0.1, 0.0, 0.2; b: 0.2, 0.1, 0.0. Both means 0.1; squares about them 0.02 each; 6 - 2 degrees of freedom.
    expect(perplexityRatio.value).toBeCloseTo(Math.exp(0.1), 12);
    expect(perplexityRatio.standardError).toBeCloseTo(Math.exp(0.1) * Math.sqrt(0.04 / 4 / 6), 12);
    expect(perplexityRatio.tokenCount).toBe(6 * 512);
  });

  it('calls an order noise below two standard errors, whichever way round', () => {
    // Differences of +-0.1 about their mean within each source: s^2 = 6 * 0.01 / 4, standard error 0.05.
    const scatter = [0.1, 0.1, -0.1, -0.1];
    const four = ['a', 'b', 'a', 'b'];
    const standardError = Math.sqrt((4 * 0.01) / 2 / 4);
    const compareShift = (shift: number) => {
      const shifted = scores(
        scatter.map((noise) => 3 + shift + noise),
        four,
      );
      return comparePerplexities(shifted, scores([3, 3, 3, 3], four), 1).withinNoise;
    };
    for (const sign of [1, -1]) {
      expect(compareShift(sign * 1.99 * standardError)).toBe(true);
      expect(compareShift(sign * 2.01 * standardError)).toBe(false);
    }
  });

  it('sees through what is hard for both', () => {
    const normal = createNormalRandom(3);
    const windows = Array.from({ length: 24 }, (_, index) => String(index % 3));
    const hardness = windows.map(() => 3 + normal());
    const better = scores(hardness, windows);
    const worse = scores(
      hardness.map((loss) => loss + 0.01 + 0.001 * normal()),
      windows,
    );
    const { perplexityRatio, withinNoise } = comparePerplexities(worse, better, 512);
    expect(perplexityRatio.value).toBeCloseTo(Math.exp(0.01), 3);
    expect(perplexityRatio.standardError).toBeLessThan(0.0005);
    expect(withinNoise).toBe(false);
  });

  it('leaves the question open where every source has one window', () => {
    const { perplexityRatio, withinNoise } = comparePerplexities(
      scores([3, 4], ['a', 'b']),
      scores([2, 4], ['a', 'b']),
      1,
    );
    expect(perplexityRatio.standardError).toBeUndefined();
    expect(withinNoise).toBeUndefined();
  });

  it.each([
    ['other windows', scores([1, 2], ['a', 'b']), scores([1, 2], ['b', 'a'])],
    ['another count', scores([1, 2], ['a', 'a']), scores([1], ['a'])],
    ['none', scores([], []), scores([], [])],
  ])('refuses %s', (_, first, second) => {
    expectKvlrError(() => comparePerplexities(first, second, 1), 'invalid-argument', /evaluated on the same windows/);
  });
});
