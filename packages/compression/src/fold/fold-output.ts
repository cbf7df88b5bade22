import { createMatrix, type Matrix, multiply } from '@kvlr/linalg';

/**
 * Columns of the output projection in the order of the result, each head multiplied by its decoder:
 * W_O,h' = W_O,h B. The shared value then contributes what the value it stands for did.
 *
 * @param weight [hiddenSize, H*D].
 * @param decoderOf Decoder [D, D] of a source query head's KV head.
 */
export function foldOutput(
  weight: Float64Array,
  queryOrder: readonly number[],
  decoderOf: (queryHead: number) => Matrix,
  headDim: number,
): Float64Array {
  const width = queryOrder.length * headDim;
  const rows = weight.length / width;
  const folded = new Float64Array(weight.length);
  queryOrder.forEach((queryHead, place) => {
    const columns = createMatrix(rows, headDim);
    for (let row = 0; row < rows; row++) {
      const start = row * width + queryHead * headDim;
      columns.data.set(weight.subarray(start, start + headDim), row * headDim);
    }
    const product = multiply(columns, decoderOf(queryHead));
    for (let row = 0; row < rows; row++) {
      folded.set(product.data.subarray(row * headDim, (row + 1) * headDim), row * width + place * headDim);
    }
  });
  return folded;
}
