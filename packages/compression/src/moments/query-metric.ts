import { createMatrix, type Matrix } from '@kvlr/linalg';
import type { SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';
import { requireStatistics } from './require-statistics.ts';

/**
 * Metric in which an error of the keys counts as the logits see it: for each KV head the sum over its query heads of
 * E[q q^T]. One [D, D] block per head.
 *
 * @param stage Queries after RoPE ('rotated') or before it ('projected').
 * @param weightOf Weight of a query head in the sum. Default 1.
 */
export function queryMetric(
  layer: SourceLayer,
  heads: readonly number[],
  stage: 'rotated' | 'projected',
  weightOf: (queryHead: number) => number = () => 1,
): Matrix[] {
  const { headDim } = layer.shape;
  const { rotatedQuerySecondMoment, querySecondMoment } = requireStatistics(layer, 'queryMetric');
  const moments = stage === 'rotated' ? rotatedQuerySecondMoment : querySecondMoment;
  return heads.map((head) => {
    const block = createMatrix(headDim, headDim);
    for (const queryHead of queryHeadsOf(layer.shape, [head])) {
      const start = queryHead * block.data.length;
      const weight = weightOf(queryHead);
      for (let index = 0; index < block.data.length; index++) {
        block.data[index]! += weight * moments[start + index]!;
      }
    }
    return block;
  });
}
