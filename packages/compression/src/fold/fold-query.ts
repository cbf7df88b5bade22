import { createMatrix, type Matrix, multiply, transpose } from '@kvlr/linalg';

/**
 * Query rows in the order of the result, each head multiplied by its decoder transposed: W_Q,h' = B^T W_Q,h, and the
 * bias likewise. The scores against the shared key are then those against the key it stands for.
 *
 * @param weight [H*D, inputs]; `bias` [H*D].
 * @param queryOrder Source head at each place of the result.
 * @param decoderOf Decoder [D, D] of a source query head's KV head.
 */
export function foldQuery(
  weight: Float64Array,
  bias: Float64Array | undefined,
  queryOrder: readonly number[],
  decoderOf: (queryHead: number) => Matrix,
  headDim: number,
): { weight: Float64Array; bias: Float64Array | undefined } {
  const inputs = weight.length / (queryOrder.length * headDim);
  const fold = (source: Float64Array, width: number): Float64Array => {
    const size = headDim * width;
    const folded = new Float64Array(source.length);
    queryOrder.forEach((queryHead, place) => {
      const rows = createMatrix(headDim, width, source.slice(queryHead * size, (queryHead + 1) * size));
      folded.set(multiply(transpose(decoderOf(queryHead)), rows).data, place * size);
    });
    return folded;
  };
  return { weight: fold(weight, inputs), bias: bias === undefined ? undefined : fold(bias, 1) };
}
