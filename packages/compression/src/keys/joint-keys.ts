import { joinSlowPairs } from '../factors/join-slow-pairs.ts';
import { normalizePairs } from '../factors/normalize-pairs.ts';
import { lostScoreShare } from '../factors/score-problem.ts';
import { scoreProblemOf } from '../moments/score-problem-of.ts';
import type { KeyMethod } from '../ports.ts';
import { phasorKeys } from './phasor-keys.ts';

/** The search for the split ends when so many pairs in a row have not improved on the best. */
const patience = 4;

/** A split has to lose this share less than the best so far, or it is rounding. */
const smallestGain = 1e-6;

/**
 * One key per group: phasors at the fast frequencies, and at the slow ones a real subspace of all heads and frequencies
 * together, as if RoPE did not turn them. The slow part can then hold what the heads do not have in common, and errs under
 * RoPE with the distance of query and key: folded into ordinary grouped-query attention it is only approximate.
 *
 * Where slow begins is decided for each group by the statistics: the split that loses least of the scores on average over
 * distances, as 'rope-averaged' counts it.
 */
export const jointKeys: KeyMethod = (layer, heads) => {
  const problem = scoreProblemOf(layer, heads);
  const phasors = phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' })(layer, heads);
  let best = { factors: phasors, lost: lostScoreShare(problem, phasors) };
  let unsuccessful = 0;
  for (let first = layer.shape.headDim / 2 - 1; first >= 0 && unsuccessful < patience; first--) {
    const factors = joinSlowPairs(problem, phasors, first);
    const lost = lostScoreShare(problem, factors);
    unsuccessful++;
    if (lost < best.lost * (1 - smallestGain) - Number.EPSILON) {
      best = { factors, lost };
      unsuccessful = 0;
    }
  }
  return normalizePairs(best.factors, problem.moment);
};
