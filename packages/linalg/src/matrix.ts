import { KvlrError } from '@kvlr/core';
import { requireCount, requireEqualShapes, requireSquare } from './input.ts';

/** A dense real matrix in Float64, row-major: entry (i, j) is `data[i * cols + j]`. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float64Array;
}

/**
 * A rows x cols matrix over `data` (row-major, taken as it is, not copied), or of zeros when `data` is left out.
 *
 * @throws KvlrError 'invalid-argument' when the sizes are not whole numbers or the length of `data` does not fit them.
 */
export function createMatrix(rows: number, cols: number, data?: Float64Array): Matrix {
  requireCount('rows', rows);
  requireCount('cols', cols);
  if (data !== undefined && data.length !== rows * cols) {
    throw new KvlrError('invalid-argument', {
      message: `expected ${rows * cols} numbers for ${rows}x${cols}, got ${data.length}`,
      hint: 'Pass the whole matrix, row after row.',
      where: { argument: 'data' },
      data: { rows, cols, length: data.length },
    });
  }
  return { rows, cols, data: data ?? new Float64Array(rows * cols) };
}

/** The n x n identity. */
export function identity(n: number): Matrix {
  const result = createMatrix(n, n);
  for (let i = 0; i < n; i += 1) result.data[i * n + i] = 1;
  return result;
}

const tile = 16;

/** The transpose, [cols, rows], copied tile by tile so that both sides stay in cache. */
export function transpose(a: Matrix): Matrix {
  const { rows, cols, data } = a;
  const result = createMatrix(cols, rows);
  for (let rowStart = 0; rowStart < rows; rowStart += tile) {
    const rowEnd = Math.min(rows, rowStart + tile);
    for (let colStart = 0; colStart < cols; colStart += tile) {
      const colEnd = Math.min(cols, colStart + tile);
      for (let i = rowStart; i < rowEnd; i += 1) {
        for (let j = colStart; j < colEnd; j += 1) result.data[j * rows + i] = data[i * cols + j]!;
      }
    }
  }
  return result;
}

/** Every entry times `factor`, as a new matrix; `scale(a, 1)` is a copy. */
export function scale({ rows, cols, data }: Matrix, factor: number): Matrix {
  return createMatrix(
    rows,
    cols,
    data.map((value) => value * factor),
  );
}

/**
 * Adds `factor` times `part` to `sum`, which is the one argument in this package that a function changes.
 *
 * @throws KvlrError 'invalid-argument' when the shapes differ.
 */
export function addTo(sum: Matrix, part: Matrix, factor = 1): void {
  requireEqualShapes(sum, part);
  for (let index = 0; index < sum.data.length; index += 1) sum.data[index]! += factor * part.data[index]!;
}

/**
 * Sum of the diagonal, first to last.
 *
 * @throws KvlrError 'invalid-argument' when the matrix is not square.
 */
export function trace(square: Matrix): number {
  requireSquare(square);
  let sum = 0;
  for (let index = 0; index < square.rows; index += 1) sum += square.data[index * (square.cols + 1)]!;
  return sum;
}

/**
 * Sum of the products of the entries, tr(left^T right), row after row.
 *
 * @throws KvlrError 'invalid-argument' when the shapes differ.
 */
export function innerProduct(left: Matrix, right: Matrix): number {
  requireEqualShapes(left, right);
  let sum = 0;
  for (let index = 0; index < left.data.length; index += 1) sum += left.data[index]! * right.data[index]!;
  return sum;
}

/** The square of the Frobenius norm: the sum of the squares of the entries, row after row. */
export function frobeniusSquared(matrix: Matrix): number {
  return innerProduct(matrix, matrix);
}
