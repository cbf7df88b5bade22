import { describe, expect, it } from 'vitest';
import { plantedRequest } from '../../test-support/planted-request.ts';
import { weightSimilarityCost } from './weight-similarity-cost.ts';

describe('weightSimilarityCost', () => {
  const { request } = plantedRequest({ heads: 4, groups: 2, headDim: 2, noise: 0, seed: 1 });

  it('is 0 for equal projections whatever their scale, and 1 a side for orthogonal ones', () => {
    const key = Float64Array.of(1, 0, 0, 1, /**/ 3, 0, 0, 3, /**/ 0, 1, 1, 0, /**/ -1, 0, 0, -1);
    const cost = weightSimilarityCost({ ...request, weights: { ...request.weights, key, value: key } });
    expect(cost([0])).toBe(0);
    expect(cost([0, 1])).toBeCloseTo(0, 12);
    expect(cost([0, 2])).toBeCloseTo(2, 12);
    expect(cost([0, 3])).toBeCloseTo(4, 12);
    // Three heads: the mean over the pairs, times the two heads that go.
    expect(cost([0, 1, 2])).toBeCloseTo((2 * (0 + 2 + 2)) / 3, 12);
  });

  it('needs weights', () => {
    expect(() => weightSimilarityCost({ ...request, weights: undefined })).toThrow(/weight-similarity \(layer 0\)/);
  });
});
