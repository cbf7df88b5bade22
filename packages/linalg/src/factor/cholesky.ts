import { KvlrError } from '@kvlr/core';
import type { Matrix } from '../matrix.ts';
import { createMatrix } from '../matrix.ts';
import { dot } from '../product/dot.ts';
import { requireFinite, requireSquare } from '../require.ts';

/**
 * The lower triangle L with positive diagonal and A = L L^T, row by row (Cholesky and Banachiewicz), so that the inner loop
 * is a dot product of two contiguous rows. Only the lower triangle of `a` is read.
 * Throws KvlrError 'invalid-argument' (not square), 'non-finite', 'numerical' (not positive definite).
 */
export function cholesky(a: Matrix): Matrix {
  requireSquare(a);
  requireFinite(a.data, a.cols);
  const n = a.rows;
  const result = createMatrix(n, n);
  const l = result.data;
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j < i; j += 1) l[i * n + j] = (a.data[i * n + j]! - dot(l, i * n, j * n, j)) / l[j * n + j]!;
    const pivot = a.data[i * n + i]! - dot(l, i * n, i * n, i);
    if (!(pivot > 0) || pivot === Number.POSITIVE_INFINITY) {
      throw new KvlrError('numerical', {
        message: `expected a positive definite matrix, got pivot ${pivot} at row ${i}`,
        hint: 'Add a small multiple of the identity (solveRidge with a larger lambda), or use more data.',
        data: { row: i, pivot },
      });
    }
    l[i * n + i] = Math.sqrt(pivot);
  }
  return result;
}
