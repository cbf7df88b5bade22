import { describe, expect, it } from 'vitest';
import { pairStreams, tokenWeights } from './streams.ts';

describe('what an error counts', () => {
  const stream = Float32Array.of(1, 1, 1000, 1000, 0, 0, Number.NaN, 1);

  it('is the same for tokens of any norm, and nothing for tokens that are no numbers', () => {
    expect([...tokenWeights(stream, 2)]).toEqual([1, Math.fround(1e-6), 0, 0]);
  });

  it('is a share of what the block adds, and of the stream where it adds nothing', () => {
    const target = stream.slice(0, 6);
    const unitBehind = (before: Float32Array) =>
      pairStreams({ before: [before], targets: [target], compressed: [before] }, 0, 1, 2).unit;
    // A hundredth of each token is added.
    expect(unitBehind(Float32Array.of(0.99, 0.99, 990, 990, 0, 0))).toBeCloseTo(4e-4, 9);
    expect(unitBehind(target)).toBe(6);
    expect(unitBehind(Float32Array.of(1 + 2 ** -22, 1, 1000, 1000, 0, 0))).toBe(6);
  });
});
