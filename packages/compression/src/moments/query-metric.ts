import { createMatrix, type Matrix } from '@kvlr/linalg';
import type { SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';
import { requireStatistics } from './require-statistics.ts';

/**
 * Metric in which an error of the rotated keys counts as the logits see it: for each KV head the sum over its query
 * heads of E[q q^T], q after RoPE. One [D, D] block per head.
 */
export function queryMetric(layer: SourceLayer, heads: readonly number[]): Matrix[] {
  const { headDim } = layer.shape;
  const { rotatedQuerySecondMoment } = requireStatistics(layer, 'queryMetric');
  return heads.map((head) => {
    const block = createMatrix(headDim, headDim);
    for (const queryHead of queryHeadsOf(layer.shape, [head])) {
      const start = queryHead * block.data.length;
      for (let index = 0; index < block.data.length; index++) {
        block.data[index]! += rotatedQuerySecondMoment[start + index]!;
      }
    }
    return block;
  });
}
