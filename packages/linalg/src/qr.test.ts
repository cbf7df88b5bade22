import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assemble, largestDifference, orthonormalityError, randomMatrix, scaled } from '../test-support/matrices.ts';
import { type Matrix, transpose } from './matrix.ts';
import { qr } from './qr.ts';

function expectFactors(a: Matrix, unit: number): void {
  const { q, r } = qr(a);
  const size = Math.min(a.rows, a.cols);
  expect([q.rows, q.cols, r.rows, r.cols]).toEqual([a.rows, size, size, a.cols]);
  const rebuilt = assemble(q, new Float64Array(size).fill(1), transpose(scaled(r, 1 / unit)));
  expect(largestDifference(rebuilt.data, scaled(a, 1 / unit).data)).toBeLessThan(1e-13);
  expect(orthonormalityError(q)).toBeLessThan(1e-13);
  for (let i = 0; i < size; i += 1) {
    expect(r.data[i * r.cols + i]).toBeGreaterThanOrEqual(0);
    for (let j = 0; j < i; j += 1) expect(r.data[i * r.cols + j]).toBe(0);
  }
}

describe('qr', () => {
  it('rebuilds matrices of every shape, rank and scale from an orthonormal and a triangular factor', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 12 }),
        fc.constantFrom(-290, -150, 0, 0, 150, 290),
        fc.nat(1e6),
        (rows, cols, rank, exponent, seed) => {
          const a = assemble(
            randomMatrix(rows, rank, seed),
            new Float64Array(rank).fill(1),
            randomMatrix(cols, rank, seed + 1),
          );
          expectFactors(scaled(a, 10 ** exponent), 10 ** exponent);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('returns R = I for the identity', () => {
    const { q, r } = qr({ rows: 2, cols: 2, data: Float64Array.of(1, 0, 0, 1) });
    expect([...q.data, ...r.data]).toEqual([1, 0, 0, 1, 1, 0, 0, 1]);
  });

  it('refuses what is not finite', () => {
    const a = { rows: 1, cols: 2, data: Float64Array.of(1, Number.POSITIVE_INFINITY) };
    expectKvlrError(() => qr(a), 'non-finite', /Infinity at row 0, column 1/);
  });
});
