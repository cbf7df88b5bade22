import type { AttentionWeights, GroupingRequest } from '@kvlr/core';
import { createMatrix, type Matrix, SecondMoment } from '@kvlr/linalg';

/**
 * Metric in which an error of a KV head's values counts as the output projection sees it: the sum over its query heads
 * of W_O,h^T W_O,h, [D, D].
 */
export function outputMetric(
  { heads, headDim, numAttentionHeads }: GroupingRequest,
  { output }: AttentionWeights,
  head: number,
): Matrix {
  const width = numAttentionHeads * headDim;
  const hiddenSize = output.length / width;
  const products = new SecondMoment(headDim);
  const columns = new Float64Array(hiddenSize * headDim);
  for (let queryHead = 0; queryHead < numAttentionHeads; queryHead++) {
    if (Math.floor((queryHead * heads) / numAttentionHeads) !== head) continue;
    for (let row = 0; row < hiddenSize; row++) {
      const start = row * width + queryHead * headDim;
      columns.set(output.subarray(start, start + headDim), row * headDim);
    }
    products.add(columns, hiddenSize);
  }
  return createMatrix(
    headDim,
    headDim,
    products.secondMoment().map((value) => value * products.count),
  );
}
