import { KvlrError } from '@kvlr/core';
import { requireEqualSizes } from './input.ts';
import { createMatrix, type Matrix } from './matrix.ts';

/**
 * Columns of a matrix, copied: `count` of them from `start` on, or those at `indices` in the given order (an index may come twice).
 * Columns of W_O that belong to head h: `columns(output, h * headDim, headDim)`.
 *
 * @returns [rows, count].
 * @throws KvlrError 'invalid-argument' when a column lies outside the matrix.
 */
export function columns(matrix: Matrix, start: number, count: number): Matrix;
export function columns(matrix: Matrix, indices: ArrayLike<number>): Matrix;
export function columns(matrix: Matrix, which: number | ArrayLike<number>, count = 0): Matrix {
  if (typeof which !== 'number') {
    requireIndices('column', which, matrix.cols);
    const chosen = createMatrix(matrix.rows, which.length);
    for (let row = 0; row < matrix.rows; row += 1) {
      const source = row * matrix.cols;
      const target = row * chosen.cols;
      for (let place = 0; place < which.length; place += 1) {
        chosen.data[target + place] = matrix.data[source + which[place]!]!;
      }
    }
    return chosen;
  }
  requireRange('columns', which, count, matrix.cols);
  const chosen = createMatrix(matrix.rows, count);
  for (let row = 0; row < matrix.rows; row += 1) {
    const begin = row * matrix.cols + which;
    chosen.data.set(matrix.data.subarray(begin, begin + count), row * count);
  }
  return chosen;
}

/**
 * Rows of a matrix, copied: `count` of them from `start` on, or those at `indices` in the given order (an index may come twice).
 *
 * @returns [count, cols].
 * @throws KvlrError 'invalid-argument' when a row lies outside the matrix.
 */
export function rows(matrix: Matrix, start: number, count: number): Matrix;
export function rows(matrix: Matrix, indices: ArrayLike<number>): Matrix;
export function rows({ rows: height, cols, data }: Matrix, which: number | ArrayLike<number>, count = 0): Matrix {
  if (typeof which === 'number') {
    requireRange('rows', which, count, height);
    return createMatrix(count, cols, data.slice(which * cols, (which + count) * cols));
  }
  requireIndices('row', which, height);
  const chosen = createMatrix(which.length, cols);
  for (let place = 0; place < which.length; place += 1) {
    chosen.data.set(data.subarray(which[place]! * cols, (which[place]! + 1) * cols), place * cols);
  }
  return chosen;
}

/**
 * The blocks of `height` rows that lie below one another in a matrix, copied.
 *
 * @returns rows / height matrices [height, cols].
 * @throws KvlrError 'invalid-argument' when the rows are no whole number of blocks.
 */
export function splitRows(matrix: Matrix, height: number): Matrix[] {
  const blocks = matrix.rows / height;
  if (!Number.isInteger(blocks) || !(height > 0)) {
    throw new KvlrError('invalid-argument', {
      message: `expected blocks whose height divides ${matrix.rows} rows, got a height of ${height}`,
      data: { rows: matrix.rows, height },
    });
  }
  return Array.from({ length: blocks }, (_, block) => rows(matrix, block * height, height));
}

/**
 * The matrix with these blocks side by side: [A B C].
 *
 * @returns [rows, sum of the columns].
 * @throws KvlrError 'invalid-argument' without blocks, or when they do not have equally many rows.
 */
export function hstack(...blocks: readonly Matrix[]): Matrix {
  const first = requireBlocks(blocks);
  for (const block of blocks) requireEqualSizes('blocks of equally many rows', first.rows, first, block, block.rows);
  const whole = createMatrix(first.rows, total(blocks, 'cols'));
  let start = 0;
  for (const { data, cols } of blocks) {
    for (let row = 0; row < whole.rows; row += 1) {
      whole.data.set(data.subarray(row * cols, (row + 1) * cols), row * whole.cols + start);
    }
    start += cols;
  }
  return whole;
}

/**
 * The matrix with these blocks below one another: [A; B; C].
 *
 * @returns [sum of the rows, cols].
 * @throws KvlrError 'invalid-argument' without blocks, or when they do not have equally many columns.
 */
export function vstack(...blocks: readonly Matrix[]): Matrix {
  const first = requireBlocks(blocks);
  for (const block of blocks) requireEqualSizes('blocks of equally many columns', first.cols, first, block, block.cols);
  const whole = createMatrix(total(blocks, 'rows'), first.cols);
  let start = 0;
  for (const { data } of blocks) {
    whole.data.set(data, start);
    start += data.length;
  }
  return whole;
}

/** The matrix with these blocks (of any shapes) down its diagonal and zeros elsewhere. */
export function blockDiagonal(blocks: readonly Matrix[]): Matrix {
  const whole = createMatrix(total(blocks, 'rows'), total(blocks, 'cols'));
  let row = 0;
  let col = 0;
  for (const block of blocks) {
    for (let i = 0; i < block.rows; i += 1) {
      whole.data.set(block.data.subarray(i * block.cols, (i + 1) * block.cols), (row + i) * whole.cols + col);
    }
    row += block.rows;
    col += block.cols;
  }
  return whole;
}

/**
 * The block of `a` at these rows and columns, in the given order (an index may come twice).
 *
 * @throws KvlrError 'invalid-argument' when an index lies outside the matrix.
 */
export function selectBlock(a: Matrix, rowIndices: ArrayLike<number>, colIndices: ArrayLike<number>): Matrix {
  requireIndices('row', rowIndices, a.rows);
  requireIndices('column', colIndices, a.cols);
  const block = createMatrix(rowIndices.length, colIndices.length);
  for (let i = 0; i < rowIndices.length; i += 1) {
    const source = rowIndices[i]! * a.cols;
    const target = i * colIndices.length;
    for (let j = 0; j < colIndices.length; j += 1) block.data[target + j] = a.data[source + colIndices[j]!]!;
  }
  return block;
}

/**
 * Square tiles of a square matrix, put together. The matrix is cut into tiles of [size, size], as a second moment over heads side by
 * side is into one tile for each two heads.
 *
 * @param square Row-major, as wide as a whole number of tiles.
 * @param tileRows Rows of tiles that are wanted, in the order of the result; `tileColumns` likewise, by default the same.
 * @returns [tileRows * size, tileColumns * size].
 */
export function selectTiles(
  square: Float64Array,
  size: number,
  tileRows: readonly number[],
  tileColumns: readonly number[] = tileRows,
): Matrix {
  const width = Math.round(Math.sqrt(square.length));
  const selected = createMatrix(tileRows.length * size, tileColumns.length * size);
  tileRows.forEach((tileRow, rowPlace) => {
    for (let row = 0; row < size; row += 1) {
      const source = (tileRow * size + row) * width;
      const target = (rowPlace * size + row) * selected.cols;
      tileColumns.forEach((tileColumn, columnPlace) => {
        const start = source + tileColumn * size;
        selected.data.set(square.subarray(start, start + size), target + columnPlace * size);
      });
    }
  });
  return selected;
}

function total(blocks: readonly Matrix[], side: 'rows' | 'cols'): number {
  return blocks.reduce((sum, block) => sum + block[side], 0);
}

function requireBlocks(blocks: readonly Matrix[]): Matrix {
  const first = blocks[0];
  if (first === undefined)
    throw new KvlrError('invalid-argument', { message: 'expected at least one block, got none' });
  return first;
}

function requireRange(kind: string, start: number, count: number, size: number): void {
  if (Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 0 && start + count <= size) return;
  throw new KvlrError('invalid-argument', {
    message: `expected ${kind} that lie in 0 to ${size - 1}, got ${count} from ${start} on`,
    data: { start, count, size },
  });
}

function requireIndices(kind: string, indices: ArrayLike<number>, size: number): void {
  for (let i = 0; i < indices.length; i += 1) {
    const index = indices[i]!;
    if (!Number.isInteger(index) || index < 0 || index >= size) {
      throw new KvlrError('invalid-argument', {
        message: `expected ${kind} indices from 0 to ${size - 1}, got ${index} at place ${i}`,
        data: { kind, index, size },
      });
    }
  }
}
