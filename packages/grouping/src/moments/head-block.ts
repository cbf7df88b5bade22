import { createMatrix, type Matrix } from '@kvlr/linalg';

/** The [D, D] block of two heads from a square matrix [heads*D, heads*D] over all heads side by side. */
export function headBlock(square: Float64Array, rowHead: number, columnHead: number, headDim: number): Matrix {
  const width = Math.round(Math.sqrt(square.length));
  const block = createMatrix(headDim, headDim);
  for (let row = 0; row < headDim; row++) {
    const start = (rowHead * headDim + row) * width + columnHead * headDim;
    block.data.set(square.subarray(start, start + headDim), row * headDim);
  }
  return block;
}
