import { KvlrError } from '@kvlr/core';
import { requireEqualSizes, requireFinite, requireSquare } from './input.ts';
import { createMatrix, type Matrix } from './matrix.ts';
import { addProduct, dot, type StridedVectors } from './product/multiply.ts';

/**
 * Rows that are factored or solved for at a time: what they take of the rows before them is one matrix product. Of 64 numbers in each
 * row, sums of the plain loops inside a block stay in the first-level cache.
 */
const blockRows = 64;

/**
 * The lower triangle L with positive diagonal and A = L L^T, by blocks of rows: what earlier columns take off a block of columns is a
 * matrix product, and inside the block the inner loop is a dot product of two contiguous rows (Cholesky and Banachiewicz). Only the
 * lower triangle of `a` is read.
 * Throws KvlrError 'invalid-argument' (not square), 'non-finite', 'numerical' (not positive definite).
 */
export function cholesky(a: Matrix): Matrix {
  requireSquare(a);
  requireFinite(a.data, a.cols);
  const n = a.rows;
  const result = createMatrix(n, n, Float64Array.from(a.data));
  const l = result.data;
  for (let start = 0; start < n; start += blockRows) {
    const end = Math.min(n, start + blockRows);
    const earlier = { data: l.subarray(start * n), vectorStride: n, entryStride: 1 };
    subtractProduct(
      { ...earlier, count: n - start },
      { ...earlier, count: end - start },
      start,
      l,
      start * n + start,
      n,
    );
    factorColumns(l, n, start, end);
  }
  return result;
}

/** Factors columns [start, end) of which earlier columns have taken their part, and clears what is right of the diagonal. */
function factorColumns(l: Float64Array, n: number, start: number, end: number): void {
  for (let i = start; i < n; i += 1) {
    for (let j = start; j < Math.min(i, end); j += 1) {
      l[i * n + j] = (l[i * n + j]! - dot(l, i * n + start, j * n + start, j - start)) / l[j * n + j]!;
    }
    if (i >= end) continue;
    const pivot = l[i * n + i]! - dot(l, i * n + start, i * n + start, i - start);
    if (!(pivot > 0) || pivot === Number.POSITIVE_INFINITY) {
      throw new KvlrError('numerical', {
        message: `expected a positive definite matrix, got pivot ${pivot} at row ${i}`,
        hint: 'Add a small multiple of the identity (solveRidge with a larger lambda), or use more data.',
        data: { row: i, pivot },
      });
    }
    l[i * n + i] = Math.sqrt(pivot);
    l.fill(0, i * n + i + 1, (i + 1) * n);
  }
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
 * X with L L^T X = B: forward, then back substitution, by blocks of rows of X: what the rows that are solved for already take off a block
 * is a matrix product, the rest goes on whole rows.
 * `l` [n, n] from `cholesky`, `b` [n, m], result [n, m]. Throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function solveCholesky(l: Matrix, b: Matrix): Matrix {
  requireSquare(l);
  requireEqualSizes('as many rows in the right side as in the factor', l.rows, l, b, b.rows);
  const n = l.rows;
  const cols = b.cols;
  const x = Float64Array.from(b.data);
  const solved = (from: number) => ({
    ...{ data: x.subarray(from * cols), count: cols },
    ...{ vectorStride: 1, entryStride: cols },
  });
  const factors = new Float64Array(n);
  for (let start = 0; start < n; start += blockRows) {
    const end = Math.min(n, start + blockRows);
    const left = { data: l.data.subarray(start * n), count: end - start, vectorStride: n, entryStride: 1 };
    subtractProduct(left, solved(0), start, x, start * cols, cols);
    for (let i = start; i < end; i += 1) {
      for (let k = start; k < i; k += 1) factors[k] = l.data[i * n + k]!;
      subtractRows(x, cols, i, factors, start, i);
      divideRow(x, cols, i, l.data[i * n + i]!);
    }
  }
  for (let start = blockRows * Math.floor((n - 1) / blockRows); start >= 0; start -= blockRows) {
    const end = Math.min(n, start + blockRows);
    const left = { data: l.data.subarray(end * n + start), count: end - start, vectorStride: 1, entryStride: n };
    subtractProduct(left, solved(end), n - end, x, start * cols, cols);
    for (let i = end - 1; i >= start; i -= 1) {
      for (let k = i + 1; k < end; k += 1) factors[k] = l.data[k * n + i]!;
      subtractRows(x, cols, i, factors, i + 1, end);
      divideRow(x, cols, i, l.data[i * n + i]!);
    }
  }
  return createMatrix(n, cols, x);
}

/** Takes the dot products of the left vectors with the right ones off a block of `target` that begins at `offset`. */
function subtractProduct(
  left: StridedVectors,
  right: StridedVectors,
  depth: number,
  target: Float64Array,
  offset: number,
  stride: number,
): void {
  if (depth === 0) return;
  const product = new Float64Array(left.count * right.count);
  addProduct(left, right, depth, product, right.count);
  for (let row = 0; row < left.count; row += 1) {
    const to = offset + row * stride;
    for (let col = 0; col < right.count; col += 1) target[to + col]! -= product[row * right.count + col]!;
  }
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
