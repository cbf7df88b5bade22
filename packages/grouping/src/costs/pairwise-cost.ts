import type { GroupCost } from './group-cost.ts';

/**
 * Cost of a group as the mean over its pairs of heads times the number of heads that go, t - 1, so that it weighs the
 * same at every group size.
 *
 * @param distances [K, K], symmetric.
 */
export function pairwiseCost(distances: Float64Array, heads: number): GroupCost {
  return (group) => {
    let sum = 0;
    for (let right = 1; right < group.length; right++) {
      for (let left = 0; left < right; left++) sum += distances[group[left]! * heads + group[right]!]!;
    }
    return (2 * sum) / group.length;
  };
}
