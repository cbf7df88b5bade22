import { createMatrix, type Matrix } from '@kvlr/linalg';

/**
 * Rows and columns of some heads from a square matrix over all heads side by side.
 *
 * @param square [heads*D, heads*D] row-major.
 * @returns [t*D, t*D] in the order of `heads`.
 */
export function headBlock(square: Float64Array, heads: readonly number[], headDim: number): Matrix {
  const width = Math.round(Math.sqrt(square.length));
  const size = heads.length * headDim;
  const block = createMatrix(size, size);
  heads.forEach((rowHead, rowPlace) => {
    for (let row = 0; row < headDim; row++) {
      const source = (rowHead * headDim + row) * width;
      const target = (rowPlace * headDim + row) * size;
      heads.forEach((columnHead, columnPlace) => {
        const start = source + columnHead * headDim;
        block.data.set(square.subarray(start, start + headDim), target + columnPlace * headDim);
      });
    }
  });
  return block;
}
