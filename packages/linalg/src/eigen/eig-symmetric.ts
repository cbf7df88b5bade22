import { KvlrError } from '@kvlr/core';
import { createMatrix } from '../matrix/create-matrix.ts';
import type { Matrix } from '../matrix/matrix.ts';
import { powerOfTwoScale } from '../matrix/power-of-two-scale.ts';
import { requireFinite, requireSquare } from '../matrix/require.ts';
import { formOrthogonal } from './form-orthogonal.ts';
import { descendingOrder, permuteColumns } from './sort-descending.ts';
import { tridiagonalQl } from './tridiagonal-ql.ts';
import { tridiagonaliseSymmetric } from './tridiagonalise-symmetric.ts';

/** Eigenvalues in descending order; column k of `vectors` belongs to values[k]. */
export interface SymmetricEigen {
  values: Float64Array;
  /** [n, n], orthonormal columns. */
  vectors: Matrix;
}

/** Relative difference between the triangles that is taken for rounding. */
export const symmetryTolerance = 1e-6;

/**
 * Eigendecomposition A = V diag(values) V^T of a real symmetric matrix: Householder reduction to tridiagonal form, then
 * implicit QL. Errors of the values and of V^T V are a small multiple of n * 2^-52 of the largest magnitude, at any scale
 * of the input. The two triangles are averaged.
 * Throws KvlrError 'invalid-argument' (not square, not symmetric), 'non-finite', 'numerical' (no convergence).
 */
export function eigSymmetric(a: Matrix): SymmetricEigen {
  requireSquare('eigSymmetric', a);
  requireFinite('eigSymmetric', a.data, a.cols);
  const n = a.rows;
  const scale = powerOfTwoScale(a.data);
  const reduction = tridiagonaliseSymmetric(scaledLowerTriangle(a, scale), n);
  const vectors = formOrthogonal(reduction, n);
  tridiagonalQl('eigSymmetric', reduction.diagonal, reduction.offDiagonal, [vectors.data]);
  const order = descendingOrder(reduction.diagonal);
  return {
    values: Float64Array.from(order, (index) => reduction.diagonal[index]! / scale),
    vectors: createMatrix(n, n, permuteColumns(vectors.data, n, order)),
  };
}

function scaledLowerTriangle(a: Matrix, scale: number): Float64Array {
  const n = a.rows;
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      const left = a.data[i * n + j]! * scale;
      const right = a.data[j * n + i]! * scale;
      if (Math.abs(left - right) > symmetryTolerance) {
        throw new KvlrError('invalid-argument', {
          message: `eigSymmetric: expected a symmetric matrix, got ${a.data[i * n + j]} at (${i}, ${j}) and ${a.data[j * n + i]} at (${j}, ${i})`,
          remedy: 'Use svd for a general matrix, or average the matrix with its transpose.',
          data: { row: i, column: j },
        });
      }
      lower[i * n + j] = 0.5 * (left + right);
    }
  }
  return lower;
}
