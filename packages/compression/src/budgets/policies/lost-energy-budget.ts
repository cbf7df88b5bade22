import { type BudgetPolicy, KvlrError } from '@kvlr/core';
import { spreadLosses } from './spread-losses.ts';

/**
 * The least sum over layers, keys and values of the share of energy that is lost, by dynamic programming: layers and sides
 * whose energy lies in few directions give to those that spread it. Quick, for it reads the statistics alone; every layer
 * counts the same, whatever the output makes of it.
 */
export const lostEnergyBudget: BudgetPolicy = (request) => {
  const { lostEnergy } = request;
  if (lostEnergy === undefined) {
    throw new KvlrError('budget-invalid', {
      message: 'lostEnergyBudget: expected lost energies (lostEnergy), got none',
      hint: 'They come from statistics: a dry run has none; in code, pass lostEnergy with the request.',
    });
  }
  return spreadLosses(request, async ({ layer, sides }, count) => {
    let sum = 0;
    for (const side of sides) sum += await lostEnergy(layer, side, count);
    return sum;
  });
};
