import type { GroupingStrategy } from '@kvlr/core';
import { lostValueCosts } from './costs/lost-energy-costs.ts';
import { lostKeyEnergy } from './costs/lost-key-energy.ts';
import { subspaceAffinityCost } from './costs/subspace-affinity-cost.ts';
import { weightSimilarityCost } from './costs/weight-similarity-cost.ts';
import { contiguousGroups } from './strategies/contiguous-groups.ts';
import { groupingByCost } from './strategies/grouping-by-cost.ts';
import { groupingByRankedCost } from './strategies/grouping-by-ranked-cost.ts';
import { lostEnergyGroups } from './strategies/lost-energy-groups.ts';
import { measuredGrouping } from './strategies/measured-grouping.ts';

export interface NamedGrouping {
  strategy: GroupingStrategy;
  /** One line for help texts. */
  description: string;
  /** True when the strategy reads the request's statistics, and so asks for calibration. */
  needsStatistics: boolean;
  /** True when the strategy reads the request's weights. */
  needsWeights: boolean;
  /** True when the strategy asks for the request's `measuredCost`. */
  needsMeasurement: boolean;
}

const needs = { needsStatistics: true, needsWeights: true, needsMeasurement: false };

/** The groupings that can be asked for by name. */
export const groupingStrategies: Readonly<Record<string, NamedGrouping>> = {
  contiguous: {
    ...needs,
    strategy: contiguousGroups,
    description: 'Neighbouring heads share one head',
    needsStatistics: false,
    needsWeights: false,
  },
  'weight-similarity': {
    ...needs,
    strategy: groupingByCost(weightSimilarityCost),
    description: 'Heads whose key and value projections look alike (cosine)',
    needsStatistics: false,
  },
  'subspace-affinity': {
    ...needs,
    strategy: groupingByCost(subspaceAffinityCost),
    description: 'Heads whose keys and values live in the same subspaces (principal angles)',
    needsWeights: false,
  },
  'lost-keys': {
    ...needs,
    strategy: groupingByCost(lostKeyEnergy),
    description: 'The groups that lose the least key energy, as the queries weigh it',
    needsWeights: false,
  },
  'lost-values': {
    ...needs,
    strategy: groupingByRankedCost(lostValueCosts),
    description: 'The groups that lose the least value energy, as the output projection sees it',
  },
  'lost-energy': {
    ...needs,
    strategy: lostEnergyGroups,
    description: 'The groups that lose the least key and value energy together',
  },
  'measured-error': {
    ...needs,
    strategy: measuredGrouping(),
    description: 'The groups whose measured error at the output of the attention block is least',
    needsMeasurement: true,
  },
};
