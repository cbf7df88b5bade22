import { contiguousHeads, createRandom, type GroupCost, KvlrError } from '@kvlr/core';
import { BestPartitions, CachedCost, Partition, type ScoredPartition } from './partition.ts';

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
 * Partition of 0..numHeads-1 into groups of `size` with a low sum of costs, for head counts at which the exact search is
 * too expensive. Any-time: it starts from the contiguous groups, and whenever a limit ends it the best partition so far is the
 * answer, so the answer never costs more than they do. Greedy agglomeration; from the better of the two, swaps until none
 * helps; simulated annealing; swaps again. A seed and an evaluation limit fix the result.
 *
 * @param cost Asked for each group once, heads ascending; smaller groups than `size` are asked for too.
 * @throws KvlrError 'invalid-argument' when `size` does not divide `numHeads`; 'numerical' when a cost is not a number.
 */
export async function searchPartition(
  numHeads: number,
  size: number,
  cost: GroupCost,
  settings: SearchSettings = {},
): Promise<SearchResult> {
  if (!(Number.isInteger(numHeads / size) && size >= 1)) {
    throw new KvlrError('invalid-argument', {
      message: `expected a group size that divides ${numHeads} heads, got ${size}`,
      hint: 'Every group takes the same number of heads.',
      where: { argument: 'size' },
      data: { numHeads, size },
    });
  }
  const { seed = 1, evaluations = 128 * numHeads, milliseconds, signal, candidates = 1 } = settings;
  const cached = new CachedCost(numHeads, cost);
  const budget = new SearchBudget({ evaluations, milliseconds, signal }, cached);
  const best = new BestPartitions(candidates);

  best.offer(new Partition(contiguousHeads(numHeads, size), cached));
  if (size > 1 && size < numHeads) {
    const joined = await agglomerate(numHeads, size, cached, budget);
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

/** How often the search lets the event loop run, so that an abort can arrive, in milliseconds. */
const breathEvery = 25;

interface SearchLimits {
  /** Different groups whose cost may be asked for. */
  evaluations: number;
  /** Wall-clock time. Results under a time limit depend on the machine. */
  milliseconds?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** Why a search ended: it had nothing left to try, or which limit it met. */
export type SearchEnd = 'finished' | 'evaluations' | 'time' | 'aborted';

/** Watches the limits of a search. */
class SearchBudget {
  private readonly started = performance.now();
  private breathed = performance.now();

  constructor(
    private readonly limits: SearchLimits,
    private readonly cost: CachedCost,
  ) {}

  /** The limit that has been met; undefined while there is room. */
  get end(): Exclude<SearchEnd, 'finished'> | undefined {
    const { evaluations, milliseconds, signal } = this.limits;
    if (signal?.aborted) return 'aborted';
    if (this.cost.evaluations >= evaluations) return 'evaluations';
    if (milliseconds !== undefined && performance.now() - this.started >= milliseconds) return 'time';
    return undefined;
  }

  /** Lets other work of the program run now and then. Returns whether the search may go on. */
  async mayGoOn(): Promise<boolean> {
    if (performance.now() - this.breathed > breathEvery) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.breathed = performance.now();
    }
    return this.end === undefined;
  }
}

/**
 * Greedy agglomeration to groups of one size: heads are joined into clusters of the smallest prime factor of the size,
 * these into clusters of the next, and so on, so that the clusters always fill the groups. On each level the join that
 * adds least cost is taken first.
 *
 * @returns The groups; undefined when the budget ended before all heads were placed.
 */
async function agglomerate(
  numHeads: number,
  size: number,
  cost: CachedCost,
  budget: SearchBudget,
): Promise<number[][] | undefined> {
  let clusters = Array.from({ length: numHeads }, (_, head) => [head]);
  for (const factor of primeFactors(size)) {
    const joined: number[][] = [];
    while (clusters.length > 0) {
      let cluster = clusters[0]!;
      for (let part = 1; part < factor; part++) {
        // The first two of a cluster are the cheapest pair there is; what follows is the cheapest to join them.
        const anchors = part === 1 ? clusters : [cluster];
        let least = Number.POSITIVE_INFINITY;
        let chosen: [number[], number[]] | undefined;
        for (const anchor of anchors) {
          if (!(await budget.mayGoOn())) return undefined;
          for (const other of clusters) {
            if (other === anchor || (part === 1 && other[0]! < anchor[0]!)) continue;
            const added = cost.of([...anchor, ...other]) - cost.of(anchor) - cost.of(other);
            if (chosen === undefined || added < least) {
              least = added;
              chosen = [anchor, other];
            }
          }
        }
        const [anchor, other] = chosen!;
        cluster = [...anchor, ...other];
        clusters = clusters.filter((candidate) => candidate !== anchor && candidate !== other);
      }
      joined.push(cluster);
    }
    clusters = joined;
  }
  return clusters;
}

function primeFactors(size: number): number[] {
  const factors: number[] = [];
  for (let factor = 2, rest = size; rest > 1; ) {
    if (rest % factor === 0) {
      factors.push(factor);
      rest /= factor;
    } else {
      factor += 1;
    }
  }
  return factors;
}

/** A swap must lower the cost by more than rounding does. */
const leastGain = 1e-12;

/**
 * Swaps heads between groups, each swap that lowers the cost at once, until no swap does or the budget ends. Every pair
 * of groups is looked at again after a change, so the end is a local optimum of single swaps.
 */
async function descend(partition: Partition, best: BestPartitions, budget: SearchBudget): Promise<void> {
  const count = partition.groups.length;
  const size = partition.groups[0]!.length;
  for (let improved = true; improved; ) {
    improved = false;
    for (let first = 0; first < count; first++) {
      for (let second = first + 1; second < count; second++) {
        for (let place = 0; place < size * size; place++) {
          if (!(await budget.mayGoOn())) return best.offer(partition);
          const swap = partition.weighSwap(first, Math.floor(place / size), second, place % size);
          if (swap.change < -leastGain) {
            partition.apply(swap);
            improved = true;
          }
        }
      }
    }
    best.offer(partition);
  }
}

interface AnnealingSettings {
  /** Random swaps to try. */
  moves: number;
  /** Uniform numbers in [0, 1). */
  random: () => number;
}

/** Swaps that set the first temperature. */
const probes = 64;
/** The last temperature as a share of the first. */
const coolingRange = 1e-3;

/**
 * Simulated annealing over swaps of two heads (Kirkpatrick, Gelatt and Vecchi 1983), cooled geometrically from half the
 * mean size of a random swap's change to a thousandth of that. The schedule counts moves, not time, so a seed fixes the
 * result. Ends where the last move leaves it; what it met on the way is in `best`.
 */
async function anneal(
  partition: Partition,
  best: BestPartitions,
  budget: SearchBudget,
  { moves, random }: AnnealingSettings,
): Promise<void> {
  const count = partition.groups.length;
  const size = partition.groups[0]!.length;
  const sample = (below: number) => Math.floor(random() * below);
  const randomSwap = () => {
    const first = sample(count);
    const second = (first + 1 + sample(count - 1)) % count;
    return partition.weighSwap(first, sample(size), second, sample(size));
  };
  let changes = 0;
  for (let probe = 0; probe < probes; probe++) {
    if (!(await budget.mayGoOn())) return;
    changes += Math.abs(randomSwap().change);
  }
  const hottest = changes / probes / 2;
  for (let move = 0; move < moves; move++) {
    if (!(await budget.mayGoOn())) return;
    const swap = randomSwap();
    const temperature = hottest * coolingRange ** (move / moves);
    if (swap.change <= 0 || random() < Math.exp(-swap.change / temperature)) {
      partition.apply(swap);
      if (swap.change < 0) best.offer(partition);
    }
  }
}
