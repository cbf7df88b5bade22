import { type BudgetPolicy, KvlrError } from '@kvlr/core';
import { fullBudget } from '../budget-parts.ts';
import { spreadLosses } from './spread-losses.ts';

/** Ranks are measured at these shares of the uniform one, beside the source's own: every measurement is a pass over text. */
const measuredShares = [0.5, 1, 1.5, 2];

/**
 * The total goes where it is measured to matter: for every layer and count, how far the model's predictions move (KL, nats
 * per token) on held-out calibration text when only that layer is compressed; then the least sum, by dynamic programming.
 * Layers are taken to add up, which leaves out how the error of one changes what another makes of it.
 */
export const measuredBudget: BudgetPolicy = (request) => {
  const { measuredLoss, unit, uniform } = request;
  if (measuredLoss === undefined) {
    throw new KvlrError('budget-invalid', {
      message: 'measuredBudget: expected a way to measure losses (measuredLoss), got none',
      hint: 'A dry run cannot measure; in code, pass measuredLoss with the request.',
    });
  }
  const full = fullBudget(request);
  const thin = (candidates: readonly number[]): readonly number[] => {
    if (unit === 'heads') return candidates;
    const wanted = measuredShares.map((share) => nearest(candidates, share * uniform.keys));
    return [...new Set([...wanted, candidates.at(-1)!])].sort((left, right) => left - right);
  };
  return spreadLosses(
    request,
    ({ layer, sides }, count) =>
      measuredLoss(layer, { ...full, ...Object.fromEntries(sides.map((side) => [side, count])) }),
    thin,
  );
};

function nearest(candidates: readonly number[], wanted: number): number {
  return candidates.reduce((best, count) => (Math.abs(count - wanted) < Math.abs(best - wanted) ? count : best));
}
