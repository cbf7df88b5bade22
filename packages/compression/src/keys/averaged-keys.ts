import { fitScoreFactors } from '../factors/fit-score-factors.ts';
import { normalizePairs } from '../factors/normalize-pairs.ts';
import { scoreProblemOf } from '../moments/score-problem-of.ts';
import type { KeyMethod } from '../ports.ts';
import { phasorKeys } from './phasor-keys.ts';

export interface AveragedKeySettings {
  /** Length of text over which distances of query and key are averaged. Left out: the model's context, at most 2048. */
  tokens?: number;
}

/**
 * One key per group that gives the best scores on average over the distance of query and key, and under ordinary RoPE.
 * Starts from the phasors, which are exact at every distance but hold only rank one per frequency, and mixes frequencies
 * where that gains more, over the distances that count, than it costs: slow pairs among themselves above all.
 */
export function averagedKeys({ tokens }: AveragedKeySettings = {}): KeyMethod {
  const phasors = phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' });
  return (layer, heads) => {
    const problem = scoreProblemOf(layer, heads, tokens);
    return normalizePairs(fitScoreFactors(problem, phasors(layer, heads)).factors, problem.moment);
  };
}
