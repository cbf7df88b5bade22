import { type GroupingStrategy, KvlrError } from '@kvlr/core';
import { countGroups, minimumCostPartition } from '../partition/minimum-cost-partition.ts';
import { swapPartition } from '../partition/swap-partition.ts';

/** Beyond these the exact search would ask for too many costs, each of which is an eigendecomposition. */
const exactLimit = { heads: 16, costs: 2000 };

/**
 * The groups of least total cost, the cost being the share of key and value energy that a group loses when its heads
 * become one. Exact up to 16 heads (for pairs: minimum-weight perfect matching); beyond that a greedy start improved by
 * swapping heads between groups.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries no cost, because the recipe calibrates on no text.
 */
export const lostEnergyGroups: GroupingStrategy = ({ heads, groups, cost, layer }) => {
  if (cost === undefined) {
    throw new KvlrError('grouping-invalid', {
      message: `lost-energy (layer ${layer}): expected the cost of a group, got a request without statistics`,
      remedy: "Calibrate on a text, or take the grouping 'contiguous'.",
      data: { layer },
    });
  }
  const size = heads / groups;
  const exact = heads <= exactLimit.heads && countGroups(heads, size) <= exactLimit.costs;
  return exact ? minimumCostPartition(heads, size, cost) : swapPartition(heads, size, cost);
};
