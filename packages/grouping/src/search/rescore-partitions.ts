import type { ScoredPartition } from './best-partitions.ts';

export interface RescoringSettings {
  /** Different groups that may be measured. Default: no limit. The first partition is measured whatever the limit. */
  measurements?: number;
  /** Ends the measuring; the best partition that was measured in full is the answer. */
  signal?: AbortSignal | undefined;
}

/**
 * The partition with the least sum of a dear cost, among candidates that a cheap cost has ranked. Each group is measured
 * once, one after the other, the candidates in their order; one that the budget does not cover is left out.
 *
 * @param candidates At least one; the first is the answer when nothing better was measured in full.
 */
export async function rescorePartitions(
  candidates: readonly (readonly (readonly number[])[])[],
  dearCost: (heads: readonly number[]) => number | Promise<number>,
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
      known.set(group.join(' '), await dearCost(group));
    }
    const cost = groups.reduce((sum, group) => sum + known.get(group.join(' '))!, 0);
    if (best === undefined || cost < best.cost) best = { groups, cost };
  }
  return best!;
}
