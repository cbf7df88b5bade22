import type { GroupingRequest, GroupingStrategy } from '@kvlr/core';
import type { RankedCost } from '../costs/lost-energy-costs.ts';
import { contiguousPartition } from '../search/contiguous-partition.ts';
import { canSearchExactly, countGroups, minimumCostPartition } from '../search/minimum-cost-partition.ts';
import { rankPartitions } from '../search/rank-partitions.ts';
import { rescorePartitions } from '../search/rescore-partitions.ts';
import type { SearchSettings } from '../search/search-partition.ts';

/** Cubed sizes of all the eigenvalue problems of an exact search, summed: a few seconds of work. */
const exactWork = 3e9;

/**
 * A strategy that looks for the groups of least exact cost. Where all possible groups can be scored exactly, they are.
 * Otherwise the surrogate ranks, and the contiguous groups and the best candidates are scored exactly: the answer never
 * costs more than the contiguous groups do.
 *
 * @param costsOf Prepares both costs for one layer. Called once per request.
 */
export function groupingByRankedCost(
  costsOf: (request: GroupingRequest) => RankedCost,
  settings: SearchSettings = {},
): GroupingStrategy {
  return async (request) => {
    const { heads, groups, headDim, signal } = request;
    const size = heads / groups;
    const { exact, surrogate } = costsOf(request);
    if (canSearchExactly(heads, size) && countGroups(heads, size) * (size * headDim) ** 3 <= exactWork) {
      return minimumCostPartition(heads, size, exact);
    }
    const ranked = await rankPartitions(heads, size, surrogate, { signal, ...settings });
    const { groups: best } = await rescorePartitions([contiguousPartition(heads, size), ...ranked], exact);
    return best;
  };
}
