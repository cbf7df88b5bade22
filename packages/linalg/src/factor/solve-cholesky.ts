import type { Matrix } from '../matrix.ts';
import { createMatrix } from '../matrix.ts';
import { requireEqualSizes, requireSquare } from '../require.ts';

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
