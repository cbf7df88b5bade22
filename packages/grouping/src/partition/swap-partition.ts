/** Rounds of swaps after the greedy start. A round without a gain ends the search earlier. */
const maximumRounds = 8;

/**
 * A cheap partition of 0..heads-1 into groups of `size`, for head counts at which the exact search is too dear: each
 * group grows from the lowest free head by the head that adds least cost; then pairs of heads of different groups are
 * swapped while that lowers the sum. Not always the best partition; deterministic.
 */
export function swapPartition(heads: number, size: number, cost: (heads: readonly number[]) => number): number[][] {
  const known = new Map<string, number>();
  const groupCost = (group: readonly number[]): number => {
    const ordered = group.toSorted((left, right) => left - right);
    const key = ordered.join(' ');
    let value = known.get(key);
    if (value === undefined) {
      value = cost(ordered);
      known.set(key, value);
    }
    return value;
  };

  const groups = greedyGroups(heads, size, groupCost);
  for (let round = 0; round < maximumRounds; round++) {
    if (!swapOnce(groups, groupCost)) break;
  }
  for (const group of groups) group.sort((left, right) => left - right);
  return groups.sort((left, right) => left[0]! - right[0]!);
}

function greedyGroups(heads: number, size: number, groupCost: (group: readonly number[]) => number): number[][] {
  const free = new Set(Array.from({ length: heads }, (_, head) => head));
  const groups: number[][] = [];
  for (const seed of free) {
    const group = [seed];
    free.delete(seed);
    while (group.length < size) {
      let chosen = -1;
      let least = Number.POSITIVE_INFINITY;
      for (const candidate of free) {
        const value = groupCost([...group, candidate]);
        if (chosen === -1 || value < least) {
          chosen = candidate;
          least = value;
        }
      }
      group.push(chosen);
      free.delete(chosen);
    }
    groups.push(group);
  }
  return groups;
}

/** One round over all pairs of groups, taking every swap that lowers the sum. Returns whether any did. */
function swapOnce(groups: number[][], groupCost: (group: readonly number[]) => number): boolean {
  let improved = false;
  for (let first = 0; first < groups.length; first++) {
    for (let second = first + 1; second < groups.length; second++) {
      const size = groups[first]!.length;
      for (let place = 0; place < size * size; place++) {
        const left = groups[first]!;
        const right = groups[second]!;
        const leftPlace = Math.floor(place / size);
        const rightPlace = place % size;
        const newLeft = left.with(leftPlace, right[rightPlace]!);
        const newRight = right.with(rightPlace, left[leftPlace]!);
        const gain = groupCost(left) + groupCost(right) - groupCost(newLeft) - groupCost(newRight);
        if (gain > 1e-12) {
          groups[first] = newLeft;
          groups[second] = newRight;
          improved = true;
        }
      }
    }
  }
  return improved;
}
