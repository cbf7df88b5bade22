import { ropeFrequencies } from '@kvlr/rope';
import { fitScoreFactors } from '../factors/fit-score-factors.ts';
import { normalizePairs } from '../factors/normalize-pairs.ts';
import { rotationAverages } from '../factors/rotation-averages.ts';
import { keyMoment } from '../moments/key-moment.ts';
import { queryMetric } from '../moments/query-metric.ts';
import type { KeyMethod } from '../ports.ts';
import { phasorKeys } from './phasor-keys.ts';

export interface AveragedKeySettings {
  /** Length of text over which distances of query and key are averaged. Left out: the model's context, at most 2048. */
  tokens?: number;
}

/** Near distances count most, so that longer contexts than this would change little. */
const mostTokens = 2048;

/**
 * One key per group that gives the best scores on average over the distance of query and key, and under ordinary RoPE.
 * Starts from the phasors, which are exact at every distance but hold only rank one per frequency, and mixes frequencies
 * where that gains more, over the distances that count, than it costs: slow pairs among themselves above all.
 */
export function averagedKeys({ tokens }: AveragedKeySettings = {}): KeyMethod {
  const phasors = phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' });
  return (layer, heads) => {
    const { headDim, rope, maxPositionEmbeddings } = layer.shape;
    const moment = keyMoment(layer, heads, 'activations');
    const { factors } = fitScoreFactors(
      {
        moment,
        queryMoments: queryMetric(layer, heads, 'projected'),
        averages: rotationAverages(
          ropeFrequencies(rope, headDim),
          tokens ?? Math.min(maxPositionEmbeddings, mostTokens),
        ),
      },
      phasors(layer, heads),
    );
    return normalizePairs(factors, moment);
  };
}
