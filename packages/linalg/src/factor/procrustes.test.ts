import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  largestDifference,
  orthonormalityError,
  randomMatrix,
  randomOrthonormal,
} from '../../test-support/matrices.ts';
import type { Matrix } from '../matrix.ts';
import { multiply } from '../product/multiply.ts';
import { procrustes } from './procrustes.ts';

function squaredDistance(a: Matrix, b: Matrix): number {
  return a.data.reduce((sum, value, index) => sum + (value - b.data[index]!) ** 2, 0);
}

describe('procrustes', () => {
  it('finds a planted orthogonal map', () => {
    const a = randomMatrix(20, 6, 1);
    const planted = randomOrthonormal(6, 6, 2);
    expect(largestDifference(procrustes(a, multiply(a, planted)).data, planted.data)).toBeLessThan(1e-13);
  });

  it('is orthogonal and no orthogonal map comes closer, rank deficient inputs included', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.integer({ min: 1, max: 8 }), (seed, rows) => {
        const a = randomMatrix(rows, 5, seed);
        const b = randomMatrix(rows, 5, seed + 1);
        const best = procrustes(a, b);
        expect(orthonormalityError(best)).toBeLessThan(1e-13);
        const other = randomOrthonormal(5, 5, seed + 2);
        const distance = squaredDistance(multiply(a, best), b);
        expect(distance).toBeLessThanOrEqual(squaredDistance(multiply(a, other), b) * (1 + 1e-12));
      }),
      { numRuns: 60 },
    );
  });

  it('refuses shapes that differ', () => {
    expectKvlrError(() => procrustes(randomMatrix(3, 2, 1), randomMatrix(4, 2, 1)), 'invalid-argument', /3x2 and 4x2/);
  });
});
