import type { GroupingRequest, GroupingStrategy } from '@kvlr/core';
import type { GroupCost } from '../costs/group-cost.ts';
import { rankPartitions } from '../search/rank-partitions.ts';
import type { SearchSettings } from '../search/search-partition.ts';

/**
 * A strategy that looks for the groups of least total cost: exact up to 16 heads, by the any-time search beyond.
 *
 * @param costOf Prepares the cost of a group for one layer. Called once per request.
 */
export function groupingByCost(
  costOf: (request: GroupingRequest) => GroupCost,
  settings: SearchSettings = {},
): GroupingStrategy {
  return async (request) => {
    const { heads, groups, signal } = request;
    const [best] = await rankPartitions(heads, heads / groups, costOf(request), { signal, ...settings });
    return best!;
  };
}
