import { createRandom } from '@kvlr/core';
import { EigenvalueDecomposition } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import { largestDifference, toPeer } from '../../test-support/matrices.ts';
import { multiplyTransposed } from '../product/multiply.ts';
import { divideAndConquer } from './divide-and-conquer.ts';

type Tridiagonal = { diagonal: Float64Array; offDiagonal: Float64Array };

function tridiagonal(n: number, diagonal: (i: number) => number, coupling: (i: number) => number): Tridiagonal {
  return {
    diagonal: Float64Array.from({ length: n }, (_, i) => diagonal(i)),
    offDiagonal: Float64Array.from({ length: n }, (_, i) => (i === 0 ? 0 : coupling(i))),
  };
}

/** Largest entries of |T x - value * x| over the largest entry of T, and of |X X^T - I|. */
function errors({ diagonal, offDiagonal }: Tridiagonal): { residual: number; orthonormality: number } {
  const n = diagonal.length;
  const size = Math.max(...diagonal.map(Math.abs), ...offDiagonal.map(Math.abs));
  const { values, rows } = divideAndConquer(Float64Array.from(diagonal), Float64Array.from(offDiagonal));
  let residual = 0;
  for (let k = 0; k < n; k += 1) {
    const x = rows.data.subarray(k * n, (k + 1) * n);
    for (let i = 0; i < n; i += 1) {
      const before = i > 0 ? offDiagonal[i]! * x[i - 1]! : 0;
      const after = i < n - 1 ? offDiagonal[i + 1]! * x[i + 1]! : 0;
      residual = Math.max(residual, Math.abs(before + diagonal[i]! * x[i]! + after - values[k]! * x[i]!));
    }
  }
  const overlaps = multiplyTransposed(rows, rows).data;
  for (let i = 0; i < n; i += 1) overlaps[i * n + i]! -= 1;
  return { residual: residual / size, orthonormality: largestDifference(overlaps, new Float64Array(n * n)) };
}

const uniform = createRandom(3);

/** Matrices on which divide and conquer is known to be tried: nothing deflates, all deflates, or values nearly coincide. */
const hardMatrices: Record<string, Tridiagonal> = {
  'random entries': tridiagonal(200, uniform, uniform),
  'couplings of both signs': tridiagonal(150, uniform, (i) => (i % 3 === 0 ? -1 : 1) * uniform()),
  'second differences, where nothing deflates': tridiagonal(
    257,
    () => 2,
    () => -1,
  ),
  'Wilkinson, values in pairs that agree to all digits': tridiagonal(
    201,
    (i) => Math.abs(i - 100),
    () => 1,
  ),
  'glued Wilkinson, values in tight clusters': tridiagonal(
    210,
    (i) => Math.abs((i % 21) - 10),
    (i) => (i % 21 === 0 ? 1e-8 : 1),
  ),
  'clusters at the limit of deflation': tridiagonal(
    128,
    (i) => 1 + (i % 4) * 1e-14,
    () => 1e-13,
  ),
  'zero diagonal': tridiagonal(
    130,
    () => 0,
    () => 1,
  ),
  'graded downwards': tridiagonal(
    120,
    (i) => 10 ** (-i / 4),
    (i) => 0.3 * 10 ** (-i / 4),
  ),
  'graded upwards': tridiagonal(
    120,
    (i) => 10 ** (i / 4 - 30),
    (i) => 0.3 * 10 ** (i / 4 - 30),
  ),
  'one large entry': tridiagonal(
    100,
    (i) => (i === 50 ? 1 : 1e-9),
    () => 1e-10,
  ),
  'a vanishing coupling in the middle': tridiagonal(128, uniform, (i) => (i === 64 ? 1e-17 : uniform())),
};

describe('divideAndConquer', () => {
  it.each(Object.entries(hardMatrices))('solves: %s', (_, matrix) => {
    const { residual, orthonormality } = errors(matrix);
    expect(residual).toBeLessThan(1e-14);
    expect(orthonormality).toBeLessThan(1e-14);
  });

  it.each([33, 64, 65, 100])('solves random matrices of size %i', (n) => {
    for (let round = 0; round < 10; round += 1) {
      const { residual, orthonormality } = errors(
        tridiagonal(
          n,
          () => uniform() * 10 ** -Math.floor(20 * uniform()),
          () => uniform() * 10 ** -Math.floor(20 * uniform()),
        ),
      );
      expect(residual).toBeLessThan(1e-14);
      expect(orthonormality).toBeLessThan(1e-14);
    }
  });

  it('finds the values that ml-matrix finds', () => {
    const { diagonal, offDiagonal } = tridiagonal(90, uniform, uniform);
    const dense = new Float64Array(90 * 90);
    for (let i = 0; i < 90; i += 1) {
      dense[i * 91] = diagonal[i]!;
      if (i > 0) dense[i * 91 - 1] = dense[(i - 1) * 91 + 1] = offDiagonal[i]!;
    }
    const peer = new EigenvalueDecomposition(toPeer({ rows: 90, cols: 90, data: dense }), { assumeSymmetric: true });
    const { values } = divideAndConquer(diagonal, offDiagonal);
    expect(largestDifference(values.sort(), Float64Array.from(peer.realEigenvalues).sort())).toBeLessThan(1e-13);
  });
});
