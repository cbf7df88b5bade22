import type { GroupCost, HeadGroups } from '@kvlr/core';
import { type SearchSettings, searchPartition } from './any-time-search.ts';
import { canSearchExactly, minimumCostPartition } from './exact-search.ts';
import type { ScoredPartition } from './partition.ts';

/**
 * The partitions of least cost, the best first: the one that is proved best where the head count allows the exact search,
 * otherwise the best that the any-time search met.
 */
export async function rankPartitions(
  numHeads: number,
  size: number,
  cost: GroupCost,
  settings: SearchSettings = {},
): Promise<number[][][]> {
  if (canSearchExactly(numHeads, size)) return [minimumCostPartition(numHeads, size, cost)];
  const { candidates } = await searchPartition(numHeads, size, cost, settings);
  return candidates.map(({ groups }) => groups);
}

export interface RescoringSettings {
  /** Different groups that may be measured. Default: no limit. The first partition is measured whatever the limit. */
  measurements?: number;
  /** Ends the measuring; the best partition that was measured in full is the answer. */
  signal?: AbortSignal | undefined;
}

/**
 * The partition with the least sum of an expensive cost, among candidates that a cheap cost has ranked. Each group is measured
 * once, one after the other, the candidates in their order; one that the budget does not cover is left out.
 *
 * @param candidates At least one; the first is the answer when nothing better was measured in full.
 */
export async function rescorePartitions(
  candidates: readonly HeadGroups[],
  expensiveCost: (heads: readonly number[]) => number | Promise<number>,
  { measurements = Number.POSITIVE_INFINITY, signal }: RescoringSettings = {},
): Promise<ScoredPartition> {
  const known = new Map<string, number>();
  let best: ScoredPartition | undefined;
  for (const candidate of candidates) {
    const groups = candidate.map((group) => group.toSorted((left, right) => left - right));
    const missing = groups.filter((group) => !known.has(group.join(' ')));
    if (best && (signal?.aborted || known.size + missing.length > measurements)) continue;
    for (const group of missing) {
      if (best && signal?.aborted) return best;
      known.set(group.join(' '), await expensiveCost(group));
    }
    const cost = groups.reduce((sum, group) => sum + known.get(group.join(' '))!, 0);
    if (best === undefined || cost < best.cost) best = { groups, cost };
  }
  return best!;
}
