import type { GroupCost } from '../costs/group-cost.ts';
import { canSearchExactly, minimumCostPartition } from './minimum-cost-partition.ts';
import { type SearchSettings, searchPartition } from './search-partition.ts';

/**
 * The partitions of least cost, the best first: the one that is proved best where the head count allows the exact search,
 * otherwise the best that the any-time search met.
 */
export async function rankPartitions(
  heads: number,
  size: number,
  cost: GroupCost,
  settings: SearchSettings = {},
): Promise<number[][][]> {
  if (canSearchExactly(heads, size)) return [minimumCostPartition(heads, size, cost)];
  const { candidates } = await searchPartition(heads, size, cost, settings);
  return candidates.map(({ groups }) => groups);
}
