import type { GroupingStrategy } from '@kvlr/core';
import { contiguousGroups } from './strategies/contiguous-groups.ts';
import { lostEnergyGroups } from './strategies/lost-energy-groups.ts';

export interface NamedGrouping {
  strategy: GroupingStrategy;
  /** One line for help texts. */
  description: string;
  /** True when the strategy asks for the request's cost, and so for calibration. */
  needsStatistics: boolean;
}

/** The groupings that can be asked for by name. */
export const groupingStrategies: Readonly<Record<string, NamedGrouping>> = {
  contiguous: {
    strategy: contiguousGroups,
    description: 'Neighbouring heads share one head',
    needsStatistics: false,
  },
  'lost-energy': {
    strategy: lostEnergyGroups,
    description: 'The groups that lose the least key and value energy; exact up to 16 heads',
    needsStatistics: true,
  },
};
