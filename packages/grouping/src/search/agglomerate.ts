import type { CachedCost } from './cached-cost.ts';
import type { SearchBudget } from './search-budget.ts';

/**
 * Greedy agglomeration to groups of one size: heads are joined into clusters of the smallest prime factor of the size,
 * these into clusters of the next, and so on, so that the clusters always fill the groups. On each level the join that
 * adds least cost is taken first.
 *
 * @returns The groups; undefined when the budget ended before all heads were placed.
 */
export async function agglomerate(
  heads: number,
  size: number,
  cost: CachedCost,
  budget: SearchBudget,
): Promise<number[][] | undefined> {
  let clusters = Array.from({ length: heads }, (_, head) => [head]);
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
