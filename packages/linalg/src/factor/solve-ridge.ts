import { KvlrError } from '@kvlr/core';
import type { Matrix } from '../matrix.ts';
import { createMatrix } from '../matrix.ts';
import { requireEqualSizes, requireFinite, requireSquare } from '../require.ts';
import { cholesky } from './cholesky.ts';
import { solveCholesky } from './solve-cholesky.ts';

/**
 * X with (gram + lambda I) X = rhs: ridge regression from second moments. With gram = E[x x^T] and rhs = E[x y^T], X^T is
 * the map that minimises E||y - X^T x||^2 + lambda ||X||^2.
 * `gram` [n, n] symmetric and positive semidefinite, `rhs` [n, m], `lambda` >= 0 in the units of gram's diagonal; 0 asks for
 * a positive definite gram.
 * Throws KvlrError 'invalid-argument', 'non-finite', 'numerical' (gram + lambda I is not positive definite).
 */
export function solveRidge(gram: Matrix, rhs: Matrix, lambda: number): Matrix {
  requireSquare(gram);
  requireEqualSizes('as many rows in the right side as in the gram matrix', gram.rows, gram, rhs, rhs.rows);
  requireFinite(gram.data, gram.cols, 'gram');
  requireFinite(rhs.data, rhs.cols, 'rhs');
  if (!(lambda >= 0) || lambda === Number.POSITIVE_INFINITY) {
    throw new KvlrError('invalid-argument', {
      message: `expected lambda to be a finite number >= 0, got ${lambda}`,
      data: { lambda },
    });
  }
  const shifted = createMatrix(gram.rows, gram.cols, Float64Array.from(gram.data));
  for (let i = 0; i < gram.rows; i += 1) shifted.data[i * gram.cols + i]! += lambda;
  return solveCholesky(cholesky(shifted), rhs);
}
