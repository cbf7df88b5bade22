import { createMatrix } from '../matrix/create-matrix.ts';
import type { Matrix } from '../matrix/matrix.ts';
import { requireEqualSizes, requireSquare } from '../matrix/require.ts';

/**
 * X with L L^T X = B: forward, then back substitution, both on whole rows of X.
 * `l` [n, n] from `cholesky`, `b` [n, m], result [n, m]. Throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function solveCholesky(l: Matrix, b: Matrix): Matrix {
  requireSquare('solveCholesky', l);
  requireEqualSizes('solveCholesky', 'as many rows in the right side as in the factor', l.rows, l, b, b.rows);
  const n = l.rows;
  const cols = b.cols;
  const x = Float64Array.from(b.data);
  for (let i = 0; i < n; i += 1) {
    for (let k = 0; k < i; k += 1) subtractRow(x, cols, i, k, l.data[i * n + k]!);
    divideRow(x, cols, i, l.data[i * n + i]!);
  }
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < n; k += 1) subtractRow(x, cols, i, k, l.data[k * n + i]!);
    divideRow(x, cols, i, l.data[i * n + i]!);
  }
  return createMatrix(n, cols, x);
}

function subtractRow(x: Float64Array, cols: number, target: number, source: number, factor: number): void {
  const to = target * cols;
  const from = source * cols;
  for (let col = 0; col < cols; col += 1) x[to + col]! -= factor * x[from + col]!;
}

function divideRow(x: Float64Array, cols: number, row: number, divisor: number): void {
  for (let index = row * cols; index < (row + 1) * cols; index += 1) x[index]! /= divisor;
}
