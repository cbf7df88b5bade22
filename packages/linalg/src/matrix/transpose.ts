import { createMatrix } from './create-matrix.ts';
import type { Matrix } from './matrix.ts';

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
