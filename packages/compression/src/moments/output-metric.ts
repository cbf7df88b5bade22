import { createMatrix, type Matrix } from '@kvlr/linalg';
import type { SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';

/**
 * Metric in which an error of the values counts as the output projection sees it: for each KV head the sum over its
 * query heads of W_O,h^T W_O,h. One [D, D] block per head.
 */
export function outputMetric(layer: SourceLayer, heads: readonly number[]): Matrix[] {
  return heads.map((head) => {
    const block = createMatrix(layer.shape.headDim, layer.shape.headDim);
    for (const queryHead of queryHeadsOf(layer.shape, [head])) addOutputGram(block, layer, queryHead);
    return block;
  });
}

/** Adds W_O,h^T W_O,h of one query head, [D, D]. */
export function addOutputGram(block: Matrix, { shape, weights }: SourceLayer, queryHead: number): void {
  const { headDim, hiddenSize, numAttentionHeads } = shape;
  const width = numAttentionHeads * headDim;
  const { output } = weights;
  for (let row = 0; row < hiddenSize; row++) {
    const start = row * width + queryHead * headDim;
    for (let left = 0; left < headDim; left++) {
      const factor = output[start + left]!;
      for (let right = 0; right < headDim; right++) {
        block.data[left * headDim + right]! += factor * output[start + right]!;
      }
    }
  }
}
