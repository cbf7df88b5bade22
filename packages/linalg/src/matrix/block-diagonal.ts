import { createMatrix } from './create-matrix.ts';
import type { Matrix } from './matrix.ts';

/** The matrix with these blocks (of any shapes) down its diagonal and zeros elsewhere. */
export function blockDiagonal(blocks: readonly Matrix[]): Matrix {
  const rows = blocks.reduce((sum, block) => sum + block.rows, 0);
  const cols = blocks.reduce((sum, block) => sum + block.cols, 0);
  const result = createMatrix(rows, cols);
  let row = 0;
  let col = 0;
  for (const block of blocks) {
    for (let i = 0; i < block.rows; i += 1) {
      result.data.set(block.data.subarray(i * block.cols, (i + 1) * block.cols), (row + i) * cols + col);
    }
    row += block.rows;
    col += block.cols;
  }
  return result;
}
