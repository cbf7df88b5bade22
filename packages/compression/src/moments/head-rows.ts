import { createMatrix, type Matrix } from '@kvlr/linalg';

/** Rows of some heads from a projection [heads*D, inputs], in the order of `heads`: [t*D, inputs]. */
export function headRows(weight: Float64Array, heads: readonly number[], headDim: number, inputs: number): Matrix {
  const size = headDim * inputs;
  const rows = createMatrix(heads.length * headDim, inputs);
  heads.forEach((head, place) => {
    rows.data.set(weight.subarray(head * size, (head + 1) * size), place * size);
  });
  return rows;
}
