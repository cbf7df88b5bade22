import { createMatrix, type Matrix, multiply } from '@kvlr/linalg';

/**
 * Columns of the output projection in the order of the result, each head multiplied by its decoder:
 * W_O,h' = W_O,h B. The shared value then contributes what the value it stands for did.
 *
 * @param weight [hiddenSize, H*D].
 * @param decoderOf Decoder [D, r] of a source query head's KV head.
 * @returns [hiddenSize, H*r].
 */
export function foldOutput(
  weight: Float64Array,
  queryOrder: readonly number[],
  decoderOf: (queryHead: number) => Matrix,
  headDim: number,
): Float64Array {
  const width = queryOrder.length * headDim;
  const rows = weight.length / width;
  const slotWidth = decoderOf(queryOrder[0]!).cols;
  const foldedWidth = queryOrder.length * slotWidth;
  const folded = new Float64Array(rows * foldedWidth);
  queryOrder.forEach((queryHead, place) => {
    const columns = createMatrix(rows, headDim);
    for (let row = 0; row < rows; row++) {
      const start = row * width + queryHead * headDim;
      columns.data.set(weight.subarray(start, start + headDim), row * headDim);
    }
    const product = multiply(columns, decoderOf(queryHead));
    for (let row = 0; row < rows; row++) {
      folded.set(product.data.subarray(row * slotWidth, (row + 1) * slotWidth), row * foldedWidth + place * slotWidth);
    }
  });
  return folded;
}
