import type { BestPartitions } from './best-partitions.ts';
import type { Partition } from './partition.ts';
import type { SearchBudget } from './search-budget.ts';

/** A swap must lower the cost by more than rounding does. */
const leastGain = 1e-12;

/**
 * Swaps heads between groups, each swap that lowers the cost at once, until no swap does or the budget ends. Every pair
 * of groups is looked at again after a change, so the end is a local optimum of single swaps.
 */
export async function descend(partition: Partition, best: BestPartitions, budget: SearchBudget): Promise<void> {
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
