import { KvlrError } from '@kvlr/core';
import { requireEqualSizes, requireFinite, requireSquare } from './input.ts';
import { createMatrix, type Matrix } from './matrix.ts';
import { dot } from './product/multiply.ts';

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

/**
 * X with L L^T X = B: forward, then back substitution, both on whole rows of X.
 * `l` [n, n] from `cholesky`, `b` [n, m], result [n, m]. Throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function solveCholesky(l: Matrix, b: Matrix): Matrix {
  requireSquare(l);
  requireEqualSizes('as many rows in the right side as in the factor', l.rows, l, b, b.rows);
  const n = l.rows;
  const cols = b.cols;
  const x = Float64Array.from(b.data);
  const factors = new Float64Array(n);
  for (let i = 0; i < n; i += 1) {
    for (let k = 0; k < i; k += 1) factors[k] = l.data[i * n + k]!;
    subtractRows(x, cols, i, factors, 0, i);
    divideRow(x, cols, i, l.data[i * n + i]!);
  }
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < n; k += 1) factors[k] = l.data[k * n + i]!;
    subtractRows(x, cols, i, factors, i + 1, n);
    divideRow(x, cols, i, l.data[i * n + i]!);
  }
  return createMatrix(n, cols, x);
}

/** Row `target` of x minus the sum of factors[k] times row k, start <= k < end; four rows in a pass. */
function subtractRows(
  x: Float64Array,
  cols: number,
  target: number,
  factors: Float64Array,
  start: number,
  end: number,
): void {
  const to = target * cols;
  let k = start;
  for (; k + 4 <= end; k += 4) {
    const row0 = k * cols;
    const row1 = row0 + cols;
    const row2 = row1 + cols;
    const row3 = row2 + cols;
    const factor0 = factors[k]!;
    const factor1 = factors[k + 1]!;
    const factor2 = factors[k + 2]!;
    const factor3 = factors[k + 3]!;
    for (let col = 0; col < cols; col += 1) {
      x[to + col]! -=
        factor0 * x[row0 + col]! + factor1 * x[row1 + col]! + factor2 * x[row2 + col]! + factor3 * x[row3 + col]!;
    }
  }
  for (; k < end; k += 1) {
    const row = k * cols;
    for (let col = 0; col < cols; col += 1) x[to + col]! -= factors[k]! * x[row + col]!;
  }
}

function divideRow(x: Float64Array, cols: number, row: number, divisor: number): void {
  for (let index = row * cols; index < (row + 1) * cols; index += 1) x[index]! /= divisor;
}
