import type { BudgetPolicy } from '@kvlr/core';
import { lostEnergyBudget } from './policies/lost-energy-budget.ts';
import { measuredBudget } from './policies/measured-budget.ts';
import { progressiveBudget } from './policies/progressive-budget.ts';
import { uniformBudget } from './policies/uniform-budget.ts';

export interface NamedBudget {
  policy: BudgetPolicy;
  /** One line for help texts. */
  description: string;
  /** What it reads: a dry run has the weights alone. */
  needs: 'nothing' | 'weights' | 'statistics' | 'measurement';
}

/** The budgets that can be asked for by name. All keep the same total. */
export const budgetPolicies: Readonly<Record<string, NamedBudget>> = {
  uniform: { policy: uniformBudget, description: 'The same in every layer', needs: 'nothing' },
  progressive: {
    policy: progressiveBudget,
    description: 'More in shallow layers, by condition numbers of the weights (LoRC)',
    needs: 'weights',
  },
  'lost-energy': {
    policy: lostEnergyBudget,
    description: 'The least lost key and value energy over all layers',
    needs: 'statistics',
  },
  measured: {
    policy: measuredBudget,
    description: 'The least measured loss: each layer compressed alone, on held-out calibration text',
    needs: 'measurement',
  },
};
