import type { DecoderShape, RopeParameters } from '@kvlr/core';
import { ropeFrequencies } from '@kvlr/rope';
import { type RotationAverages, rotationAverages } from '../factors/rotation-averages.ts';
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
  return {
    moment: keyMoment(layer, heads, 'activations'),
    queryMoments: queryMetric(layer, heads, 'projected', (queryHead) => scoreWeight(layer, queryHead)),
    averages: averagesOf(layer.shape, tokens),
  };
}

/** The same for every group and layer of a model, and not quick: kept with the RoPE parameters that they belong to. */
const knownAverages = new WeakMap<RopeParameters, Map<string, RotationAverages>>();

function averagesOf({ rope, headDim }: DecoderShape, tokens: number): RotationAverages {
  const ofRope = knownAverages.get(rope) ?? new Map<string, RotationAverages>();
  knownAverages.set(rope, ofRope);
  const key = `${headDim} ${tokens}`;
  const averages = ofRope.get(key) ?? rotationAverages(ropeFrequencies(rope, headDim), tokens);
  ofRope.set(key, averages);
  return averages;
}
