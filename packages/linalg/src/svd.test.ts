import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { SingularValueDecomposition } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import {
  assemble,
  isDescending,
  largestDifference,
  largestMagnitude,
  orthonormalityError,
  randomMatrix,
  randomOrthonormal,
  scaled,
  toPeer,
} from '../test-support/matrices.ts';
import type { Matrix } from './matrix.ts';
import { multiply } from './product/multiply.ts';
import { procrustes, svd } from './svd.ts';

function expectDecomposition(a: Matrix, tolerance: number): Float64Array {
  const { u, singularValues, v } = svd(a);
  const size = largestMagnitude(a.data) || 1;
  const rebuilt = assemble(
    u,
    singularValues.map((value) => value / size),
    v,
  );
  expect([u.rows, u.cols, v.rows, v.cols]).toEqual([
    a.rows,
    Math.min(a.rows, a.cols),
    a.cols,
    Math.min(a.rows, a.cols),
  ]);
  expect(largestDifference(rebuilt.data, scaled(a, 1 / size).data)).toBeLessThan(tolerance);
  expect(orthonormalityError(u)).toBeLessThan(tolerance);
  expect(orthonormalityError(v)).toBeLessThan(tolerance);
  expect(isDescending(singularValues)).toBe(true);
  expect(singularValues.every((value) => value >= 0)).toBe(true);
  return singularValues;
}

const shapes = fc.record({
  rows: fc.integer({ min: 1, max: 14 }),
  cols: fc.integer({ min: 1, max: 14 }),
  rank: fc.integer({ min: 0, max: 14 }),
  exponent: fc.constantFrom(-290, -150, 0, 0, 150, 290),
  seed: fc.nat(1e6),
});

describe('svd', () => {
  it('rebuilds matrices of every shape, rank and scale from orthonormal factors', () => {
    fc.assert(
      fc.property(shapes, ({ rows, cols, rank, exponent, seed }) => {
        const left = randomMatrix(rows, rank, seed);
        const right = randomMatrix(cols, rank, seed + 1);
        const a = scaled(assemble(left, new Float64Array(rank).fill(1), right), 10 ** exponent);
        expectDecomposition(a, 1e-13);
      }),
      { numRuns: 200 },
    );
  });

  it('agrees with ml-matrix', () => {
    const a = randomMatrix(30, 20, 6);
    const expected = Float64Array.from(new SingularValueDecomposition(toPeer(a)).diagonal);
    expect(largestDifference(svd(a).singularValues, expected)).toBeLessThan(1e-13 * expected[0]!);
  });

  it('finds repeated singular values', () => {
    const planted = Float64Array.of(3, 3, 3, 1, 1, 0, 0);
    const a = assemble(randomOrthonormal(9, 7, 1), planted, randomOrthonormal(7, 7, 2));
    expect(largestDifference(expectDecomposition(a, 1e-14), planted)).toBeLessThan(1e-14);
  });

  it('keeps the relative accuracy of small singular values of badly scaled columns', () => {
    // Orthonormal columns times a diagonal: the singular values are that diagonal, over sixty orders of magnitude.
    const planted = Float64Array.from({ length: 13 }, (_, k) => 10 ** (-5 * k));
    const axes = Float64Array.from({ length: 169 }, (_, index) => (index % 14 === 0 ? 1 : 0));
    const a = assemble(randomOrthonormal(20, 13, 3), planted, { rows: 13, cols: 13, data: axes });
    const { singularValues } = svd(a);
    for (let k = 0; k < planted.length; k += 1) {
      expect(Math.abs(singularValues[k]! / planted[k]! - 1)).toBeLessThan(1e-13);
    }
  });

  it('converges when columns fall below the underflow threshold of their squares', () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 10, 40), fc.integer({ min: 1, max: 12 }), fc.nat(1e6), (decades, cols, seed) => {
        const a = randomMatrix(14, cols, seed);
        for (let index = 0; index < a.data.length; index += 1) a.data[index]! *= 10 ** (-decades * (index % cols));
        expectDecomposition(a, 1e-13);
      }),
      { numRuns: 60 },
    );
  });

  it('truncates to the best approximation of each rank', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.integer({ min: 1, max: 5 }), (seed, rank) => {
        const a = randomMatrix(8, 6, seed);
        const { u, singularValues, v } = svd(a);
        const kept = singularValues.map((value, k) => (k < rank ? value : 0));
        const lost = singularValues.subarray(rank).reduce((sum, value) => sum + value * value, 0);
        const squaredError = (b: Matrix) => b.data.reduce((sum, value, k) => sum + (value - a.data[k]!) ** 2, 0);
        expect(squaredError(assemble(u, kept, v))).toBeCloseTo(lost, 10);
        // Projection onto any other basis of that rank loses at least as much.
        const basis = randomOrthonormal(8, rank, seed + 1);
        const projector = assemble(basis, new Float64Array(rank).fill(1), basis);
        const projected = { rows: 8, cols: 6, data: new Float64Array(48) };
        for (let i = 0; i < 8; i += 1) {
          for (let j = 0; j < 6; j += 1) {
            for (let k = 0; k < 8; k += 1)
              projected.data[i * 6 + j]! += projector.data[i * 8 + k]! * a.data[k * 6 + j]!;
          }
        }
        expect(squaredError(projected)).toBeGreaterThanOrEqual(lost * (1 - 1e-12));
      }),
      { numRuns: 50 },
    );
  });

  it('handles zeros, single rows and columns, and matrices without columns', () => {
    expect([...expectDecomposition({ rows: 3, cols: 2, data: new Float64Array(6) }, 1e-15)]).toEqual([0, 0]);
    expect(expectDecomposition({ rows: 1, cols: 4, data: Float64Array.of(0, 3, 0, -4) }, 1e-15)[0]).toBeCloseTo(5, 14);
    expect(expectDecomposition({ rows: 2, cols: 1, data: Float64Array.of(-3, 4) }, 1e-15)[0]).toBeCloseTo(5, 14);
    expect(svd({ rows: 3, cols: 0, data: new Float64Array(0) }).singularValues.length).toBe(0);
  });

  it('handles the Hilbert matrix, whose condition number exceeds the precision', () => {
    const n = 12;
    const data = Float64Array.from({ length: n * n }, (_, index) => 1 / (Math.floor(index / n) + (index % n) + 1));
    // Largest singular value of the 12 x 12 Hilbert matrix, as published in tables.
    expect(expectDecomposition({ rows: n, cols: n, data }, 1e-14)[0]).toBeCloseTo(1.795372059562, 12);
  });

  it('refuses what is not finite', () => {
    const a = { rows: 2, cols: 2, data: Float64Array.of(1, Number.NaN, 0, 1) };
    expectKvlrError(() => svd(a), 'non-finite', /NaN at row 0, column 1/);
  });
});

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
