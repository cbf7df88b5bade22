import { describe, expect, it } from 'vitest';
import { tokenWeights, unitOfError, weightedEnergy } from './streams.ts';

describe('what an error counts', () => {
  it('is the same for tokens of any norm, and nothing for tokens that are no numbers', () => {
    const stream = Float32Array.of(1, 1, 1000, 1000, 0, 0, Number.NaN, 1);
    const weights = tokenWeights(stream, 2);
    expect([...weights]).toEqual([1, Math.fround(1e-6), 0, 0]);
    // An error of a hundredth of each token.
    expect(weightedEnergy(Float32Array.of(0.01, 0.01, 10, 10), weights.subarray(0, 2))).toBeCloseTo(4e-4, 9);
  });

  it('is a share of what the block adds, and of the stream where it adds nothing', () => {
    expect(unitOfError(0.5, 100)).toBe(0.5);
    expect(unitOfError(0, 100)).toBe(100);
    expect(unitOfError(1e-20, 100)).toBe(100);
  });
});
