import { createRandom, KvlrError } from '@kvlr/core';
import type { GroupCost } from '../costs/group-cost.ts';
import { agglomerate } from './agglomerate.ts';
import { anneal } from './anneal.ts';
import { BestPartitions, type ScoredPartition } from './best-partitions.ts';
import { CachedCost } from './cached-cost.ts';
import { contiguousPartition } from './contiguous-partition.ts';
import { descend } from './descend.ts';
import { Partition } from './partition.ts';
import { SearchBudget, type SearchEnd } from './search-budget.ts';

export interface SearchSettings {
  /** Of the annealing. Default 1. */
  seed?: number;
  /** Different groups whose cost may be asked for. Default 128 per head. */
  evaluations?: number;
  /** Wall-clock limit; a search that meets it depends on the machine. Default: none. */
  milliseconds?: number;
  /** Ends the search; the best so far is the answer. */
  signal?: AbortSignal | undefined;
  /** Different partitions to return, the cheapest first. Default 1. */
  candidates?: number;
}

export interface SearchResult extends ScoredPartition {
  /** The best partitions met, `groups` first. Fewer than asked for when fewer were met. */
  candidates: ScoredPartition[];
  /** Different groups whose cost was asked for. */
  evaluations: number;
  end: SearchEnd;
}

/** Moves of the annealing per evaluation of the budget: most moves of a cold walk ask for groups that are known. */
const movesPerEvaluation = 4;

/**
 * Partition of 0..heads-1 into groups of `size` with a low sum of costs, for head counts at which the exact search is
 * too dear. Any-time: it starts from the contiguous groups, and whenever a limit ends it the best partition so far is the
 * answer, so the answer never costs more than they do. Greedy agglomeration; from the better of the two, swaps until none
 * helps; simulated annealing; swaps again. A seed and an evaluation limit fix the result.
 *
 * @param cost Asked for each group once, heads ascending; smaller groups than `size` are asked for too.
 * @throws KvlrError 'invalid-argument' when `size` does not divide `heads`; 'numerical' when a cost is not a number.
 */
export async function searchPartition(
  heads: number,
  size: number,
  cost: GroupCost,
  settings: SearchSettings = {},
): Promise<SearchResult> {
  if (!(Number.isInteger(heads / size) && size >= 1)) {
    throw new KvlrError('invalid-argument', {
      message: `searchPartition: expected a group size that divides ${heads} heads, got ${size}`,
      data: { heads, size },
    });
  }
  const { seed = 1, evaluations = 128 * heads, milliseconds, signal, candidates = 1 } = settings;
  const cached = new CachedCost(heads, cost);
  const budget = new SearchBudget({ evaluations, milliseconds, signal }, cached);
  const best = new BestPartitions(candidates);

  best.offer(new Partition(contiguousPartition(heads, size), cached));
  if (size > 1 && size < heads) {
    const joined = await agglomerate(heads, size, cached, budget);
    if (joined) best.offer(new Partition(joined, cached));
    await descend(new Partition(best.best.groups, cached), best, budget);
    const moves = movesPerEvaluation * evaluations;
    await anneal(new Partition(best.best.groups, cached), best, budget, { moves, random: createRandom(seed) });
    await descend(new Partition(best.best.groups, cached), best, budget);
  }
  return {
    ...best.best,
    candidates: best.all,
    evaluations: cached.evaluations,
    end: budget.end ?? 'finished',
  };
}
