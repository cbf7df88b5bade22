import type { BestPartitions } from './best-partitions.ts';
import type { Partition } from './partition.ts';
import type { SearchBudget } from './search-budget.ts';

export interface AnnealingSettings {
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
export async function anneal(
  partition: Partition,
  best: BestPartitions,
  budget: SearchBudget,
  { moves, random }: AnnealingSettings,
): Promise<void> {
  const count = partition.groups.length;
  const size = partition.groups[0]!.length;
  const draw = (below: number) => Math.floor(random() * below);
  const randomSwap = () => {
    const first = draw(count);
    const second = (first + 1 + draw(count - 1)) % count;
    return partition.weighSwap(first, draw(size), second, draw(size));
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
