import { KvlrError } from '@kvlr/core';
import { requireEqualSizes, requireFinite, requireSquare } from './input.ts';
import { createMatrix, type Matrix } from './matrix.ts';
import { addProduct, dot, type StridedVectors } from './product/multiply.ts';

/**
 * Rows that are factored or solved for at a time: what they take of the rows before them is one matrix product, and
 * what is left to plain loops is little.
 */
const blockRows = 32;

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
 * X with L L^T X = B: forward, then back substitution.
 * `l` [n, n] from `cholesky`, `b` [n, m], result [n, m]. Throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function solveCholesky(l: Matrix, b: Matrix): Matrix {
  requireSquare(l);
  requireEqualSizes('as many rows in the right side as in the factor', l.rows, l, b, b.rows);
  const x = createMatrix(b.rows, b.cols, Float64Array.from(b.data));
  substitute(l, x, false);
  substitute(l, x, true);
  return x;
}

/**
 * Solves L Y = X, or L^T Y = X from the last row on, in place of X, by blocks of rows: what the rows that are solved for already take off
 * a block is a matrix product, the rest goes on whole rows.
 */
function substitute(l: Matrix, { data: x, cols }: Matrix, transposed: boolean): void {
  const n = l.rows;
  // Entry (i, j) of the triangle.
  const [down, right] = transposed ? [1, n] : [n, 1];
  const blocks = Math.ceil(n / blockRows);
  for (let place = 0; place < blocks; place += 1) {
    const start = blockRows * (transposed ? blocks - 1 - place : place);
    const end = Math.min(n, start + blockRows);
    const [from, to] = transposed ? [end, n] : [0, start];
    subtractProduct(
      {
        data: l.data.subarray(start * down + from * right),
        count: end - start,
        vectorStride: down,
        entryStride: right,
      },
      { data: x.subarray(from * cols), count: cols, vectorStride: 1, entryStride: cols },
      to - from,
      x,
      start * cols,
      cols,
    );
    for (let row = 0; row < end - start; row += 1) {
      const i = transposed ? end - 1 - row : start + row;
      for (let j = transposed ? end - 1 : start; j !== i; j += transposed ? -1 : 1) {
        const factor = l.data[i * down + j * right]!;
        for (let col = 0; col < cols; col += 1) x[i * cols + col]! -= factor * x[j * cols + col]!;
      }
      for (let col = i * cols; col < (i + 1) * cols; col += 1) x[col]! /= l.data[i * n + i]!;
    }
  }
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
  const product = new Float64Array(left.count * right.count);
  addProduct(left, right, depth, product, right.count);
  for (let row = 0; row < left.count; row += 1) {
    const to = offset + row * stride;
    for (let col = 0; col < right.count; col += 1) target[to + col]! -= product[row * right.count + col]!;
  }
}
