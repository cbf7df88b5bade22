import {
  type CostPort,
  contiguousHeads,
  type GroupCost,
  type GroupingRequest,
  type GroupingStrategy,
  KvlrError,
  type NamedCost,
} from '@kvlr/core';
import { type SearchSettings, searchPartition } from './any-time-search.ts';
import { canSearchExactly, countGroups, minimumCostPartition } from './exact-search.ts';
import { rankPartitions, rescorePartitions } from './ranked-search.ts';

/**
 * Neighbours share: heads 0..t-1, then t..2t-1, and so on (Ainslie et al. 2023, arXiv 2305.13245). The query heads keep
 * their order, so nothing is permuted in the result.
 */
export const contiguousGroups: GroupingStrategy = ({ numKeyValueHeads, wanted }) =>
  contiguousHeads(numKeyValueHeads, numKeyValueHeads / wanted);

/** Multiplications of all the exact costs of a search that need no estimate: a few seconds of work. */
const affordableWork = 3e9;

/**
 * A strategy that looks for the groups of least total cost: exact up to 16 heads, by the any-time search beyond. Where the
 * cost brings an estimate and the exact one is too expensive for all possible groups, the estimate ranks, and the contiguous
 * groups and the best candidates are scored exactly: the answer never costs more than the contiguous groups do.
 *
 * @param costOf Prepares the cost of a group for one layer. Called once per request.
 */
export function groupingByCost(costOf: CostPort, settings: SearchSettings = {}): GroupingStrategy {
  return async (request) => {
    const { numKeyValueHeads, wanted, signal } = request;
    const size = numKeyValueHeads / wanted;
    const search = { signal, ...settings };
    const cost = costOf(request);
    if (typeof cost === 'function') return (await rankPartitions(numKeyValueHeads, size, cost, search))[0]!;
    const { exact, estimate, work } = cost;
    if (
      canSearchExactly(numKeyValueHeads, size) &&
      countGroups(numKeyValueHeads, size) * work(size) <= affordableWork
    ) {
      return minimumCostPartition(numKeyValueHeads, size, exact);
    }
    const ranked = await rankPartitions(numKeyValueHeads, size, estimate, search);
    const { groups } = await rescorePartitions([contiguousHeads(numKeyValueHeads, size), ...ranked], exact);
    return groups;
  };
}

export interface MeasuredGroupingSettings extends SearchSettings {
  /** Groups of a layer that may be measured. Default 80: all there are for 8 heads. */
  measurements?: number;
  /** Partitions that the cheap cost puts forward. Default 8. */
  candidates?: number;
}

/**
 * A strategy that looks for the groups of least measured cost (`measuredCost` of the request, such as the output error of
 * the attention block when only that group is merged). Where the measurements cover every possible group, the best
 * partition is found exactly. Otherwise a cheap cost ranks, and the contiguous groups and the best candidates are measured:
 * the answer never measures worse than the contiguous groups do.
 *
 * @param rankedBy The cheap cost.
 * @throws KvlrError 'grouping-invalid' when the request carries no measured cost.
 */
export function measuredGrouping(rankedBy: CostPort, settings: MeasuredGroupingSettings = {}): GroupingStrategy {
  const { measurements = 80, candidates = 8, ...search } = settings;
  return async (request) => {
    const { numKeyValueHeads, wanted, signal } = request;
    const size = numKeyValueHeads / wanted;
    const measuredCost = requireMeasuredCost(request);
    const contiguous = contiguousHeads(numKeyValueHeads, size);
    if (canSearchExactly(numKeyValueHeads, size) && countGroups(numKeyValueHeads, size) <= measurements) {
      const known = await measureAll(numKeyValueHeads, size, measuredCost, signal);
      return known ? minimumCostPartition(numKeyValueHeads, size, known) : contiguous;
    }
    const cheap = rankedBy(request);
    const cost = typeof cheap === 'function' ? cheap : cheap.estimate;
    const ranked = await searchPartition(numKeyValueHeads, size, cost, { signal, ...search, candidates });
    const partitions = [contiguous, ...ranked.candidates.map(({ groups }) => groups)];
    return (await rescorePartitions(partitions, measuredCost, { measurements, signal })).groups;
  };
}

function requireMeasuredCost({ measuredCost }: GroupingRequest): NonNullable<GroupingRequest['measuredCost']> {
  if (measuredCost !== undefined) return measuredCost;
  throw new KvlrError('grouping-invalid', {
    message: 'expected a measured cost in the request, got none',
    hint: 'Pass `measuredCost` in the request, or take a grouping that works from statistics.',
    where: { argument: 'measuredCost' },
  });
}

/** The measured cost of every group; undefined when the signal stopped it. */
async function measureAll(
  numHeads: number,
  size: number,
  measuredCost: NonNullable<GroupingRequest['measuredCost']>,
  signal: AbortSignal | undefined,
): Promise<GroupCost | undefined> {
  const known = new Map<string, number>();
  for (const group of everyGroup(numHeads, size)) {
    if (signal?.aborted) return undefined;
    known.set(group.join(' '), await measuredCost(group));
  }
  return (group) => known.get(group.join(' '))!;
}

/** Every choice of `size` heads, ascending. */
function everyGroup(numHeads: number, size: number, start = 0): number[][] {
  if (size === 0) return [[]];
  return Array.from({ length: numHeads - start }, (_, index) => start + index).flatMap((head) =>
    everyGroup(numHeads, size - 1, head + 1).map((rest) => [head, ...rest]),
  );
}

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

/**
 * The groupings that can be asked for by name: 'contiguous', one search for each cost, named as the cost is, and
 * 'measured-error'.
 *
 * @param costs What letting heads share may be said to cost, such as `mergeCosts` of @kvlr/compression.
 * @param rankedBy Which of them ranks for 'measured-error' where not every group can be measured.
 */
export function namedGroupings<Name extends string>(
  costs: Readonly<Record<Name, NamedCost>>,
  rankedBy: NoInfer<Name>,
): Record<string, NamedGrouping> {
  const searches = Object.entries<NamedCost>(costs).map(([name, { costOf, ...described }]): [string, NamedGrouping] => {
    return [name, { ...described, strategy: groupingByCost(costOf), needsMeasurement: false }];
  });
  return {
    contiguous: {
      strategy: contiguousGroups,
      description: 'Neighbouring heads share one head',
      needsStatistics: false,
      needsWeights: false,
      needsMeasurement: false,
    },
    ...Object.fromEntries(searches),
    'measured-error': {
      strategy: measuredGrouping(costs[rankedBy].costOf),
      description: 'The groups whose measured error at the output of the attention block is least',
      needsStatistics: true,
      needsWeights: true,
      needsMeasurement: true,
    },
  };
}
