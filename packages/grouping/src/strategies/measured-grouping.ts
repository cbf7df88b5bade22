import { type GroupingStrategy, KvlrError } from '@kvlr/core';
import type { GroupCost } from '../costs/group-cost.ts';
import { lostEnergyCosts } from '../costs/lost-energy-costs.ts';
import { contiguousPartition } from '../search/contiguous-partition.ts';
import { canSearchExactly, countGroups, minimumCostPartition } from '../search/minimum-cost-partition.ts';
import { rescorePartitions } from '../search/rescore-partitions.ts';
import { type SearchSettings, searchPartition } from '../search/search-partition.ts';

export interface MeasuredGroupingSettings extends SearchSettings {
  /** Groups of a layer that may be measured. Default 80: all there are for 8 heads. */
  measurements?: number;
  /** Partitions that the cheap cost puts forward. Default 8. */
  candidates?: number;
}

/**
 * A strategy that looks for the groups of least measured cost (`measuredCost` of the request, such as the output error of
 * the attention block when only that group is merged). Where the measurements cover every possible group, the best
 * partition is found exactly. Otherwise lost energy ranks, and the contiguous groups and the best candidates are measured:
 * the answer never measures worse than the contiguous groups do.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries no measured cost.
 */
export function measuredGrouping(settings: MeasuredGroupingSettings = {}): GroupingStrategy {
  const { measurements = 80, candidates = 8, ...search } = settings;
  return async (request) => {
    const { heads, groups, layer, measuredCost, signal } = request;
    const size = heads / groups;
    if (measuredCost === undefined) {
      throw new KvlrError('grouping-invalid', {
        message: `measured-error (layer ${layer}): expected a measured cost in the request, got none`,
        hint: 'Pass `measuredCost` in the request, or take a grouping that works from statistics.',
        data: { layer },
      });
    }
    const contiguous = contiguousPartition(heads, size);
    if (canSearchExactly(heads, size) && countGroups(heads, size) <= measurements) {
      const known = await measureAll(heads, size, measuredCost, signal);
      if (known) return minimumCostPartition(heads, size, known);
      return contiguous;
    }
    const { candidates: ranked } = await searchPartition(heads, size, lostEnergyCosts(request).surrogate, {
      signal,
      ...search,
      candidates,
    });
    const partitions = [contiguous, ...ranked.map((partition) => partition.groups)];
    const best = await rescorePartitions(partitions, measuredCost, { measurements, signal });
    return best.groups;
  };
}

/** The measured cost of every group; undefined when the signal stopped it. */
async function measureAll(
  heads: number,
  size: number,
  measuredCost: (heads: readonly number[]) => number | Promise<number>,
  signal: AbortSignal | undefined,
): Promise<GroupCost | undefined> {
  const known = new Map<string, number>();
  for (const group of everyGroup(heads, size)) {
    if (signal?.aborted) return undefined;
    known.set(group.join(' '), await measuredCost(group));
  }
  return (group) => known.get(group.join(' '))!;
}

/** Every choice of `size` heads, ascending. */
function everyGroup(heads: number, size: number, start = 0): number[][] {
  if (size === 0) return [[]];
  return Array.from({ length: heads - start }, (_, index) => start + index).flatMap((head) =>
    everyGroup(heads, size - 1, head + 1).map((rest) => [head, ...rest]),
  );
}
