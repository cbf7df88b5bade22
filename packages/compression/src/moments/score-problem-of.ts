import { ropeFrequencies } from '@kvlr/rope';
import { rotationAverages } from '../factors/rotation-averages.ts';
import type { ScoreProblem } from '../factors/score-problem.ts';
import type { SourceLayer } from '../ports.ts';
import { keyMoment } from './key-moment.ts';
import { queryMetric } from './query-metric.ts';
import { scoreWeight } from './score-weight.ts';

/** Near distances count most, so that longer contexts than this would change little. */
const mostTokens = 2048;

/**
 * What the scores of some heads depend on, on average over the distance of query and key in texts of `tokens` tokens: by
 * default the model's context, at most 2048. Heads count by how much their scores move the output.
 */
export function scoreProblemOf(
  layer: SourceLayer,
  heads: readonly number[],
  tokens = Math.min(layer.shape.maxPositionEmbeddings, mostTokens),
): ScoreProblem {
  const { rope, headDim } = layer.shape;
  return {
    moment: keyMoment(layer, heads, 'activations'),
    queryMoments: queryMetric(layer, heads, 'projected', (queryHead) => scoreWeight(layer, queryHead)),
    averages: rotationAverages(ropeFrequencies(rope, headDim), tokens),
  };
}
