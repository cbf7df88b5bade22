import { type GroupCost, KvlrError } from '@kvlr/core';
import { costIsNoNumber } from './partition.ts';

/** Beyond these the exact search would ask for too many costs or keep too many sets. */
const exactLimit = { heads: 16, costs: 2000 };

/** Number of groups of `size` among `numHeads`: how many costs the exact search asks for at most. */
export function countGroups(numHeads: number, size: number): number {
  let count = 1;
  for (let index = 1; index <= size; index++) count = (count * (numHeads - size + index)) / index;
  return Math.round(count);
}

/** Whether `minimumCostPartition` is quick enough to be the first choice: up to 16 heads and 2000 possible groups. */
export function canSearchExactly(numHeads: number, size: number): boolean {
  return numHeads <= exactLimit.heads && countGroups(numHeads, size) <= exactLimit.costs;
}

/**
 * Partition of 0..numHeads-1 into groups of `size` with the least sum of costs, by dynamic programming over sets of heads
 * (Held and Karp's scheme). Each group is asked for once; groups and their heads come out in ascending order. At size 2
 * this is minimum-weight perfect matching on the complete graph.
 *
 * @param numHeads At most 20, a multiple of `size`.
 * @throws KvlrError 'invalid-argument' beyond these limits; 'numerical' when a cost is not a number.
 */
export function minimumCostPartition(numHeads: number, size: number, cost: GroupCost): number[][] {
  if (numHeads > 20 || numHeads % size !== 0) {
    throw new KvlrError('invalid-argument', {
      message: `expected at most 20 heads in groups that divide them, got ${numHeads} heads in groups of ${size}`,
      hint: 'Take searchPartition for more heads.',
      data: { numHeads, size },
    });
  }
  const everyHead = 2 ** numHeads - 1;
  const costOfGroup = new Map<number, number>();
  const groupCost = (mask: number): number => {
    let value = costOfGroup.get(mask);
    if (value === undefined) {
      value = cost(membersOf(mask));
      if (Number.isNaN(value)) throw costIsNoNumber(membersOf(mask));
      costOfGroup.set(mask, value);
    }
    return value;
  };

  // best[set] is the least cost of partitioning the heads in `set`; sets are filled from the lowest head that is free,
  // so every partition is met once.
  const best = new Float64Array(2 ** numHeads).fill(Number.POSITIVE_INFINITY);
  const lastGroup = new Int32Array(2 ** numHeads);
  best[0] = 0;
  for (let set = 0; set < everyHead; set++) {
    if (best[set] === Number.POSITIVE_INFINITY) continue;
    const free = membersOf(everyHead & ~set);
    const [first, ...others] = free as [number, ...number[]];
    forEachChoice(others, size - 1, (choice) => {
      const group = choice | (1 << first);
      const total = best[set]! + groupCost(group);
      if (total < best[set | group]!) {
        best[set | group] = total;
        lastGroup[set | group] = group;
      }
    });
  }
  const groups: number[][] = [];
  for (let set = everyHead; set !== 0; set &= ~lastGroup[set]!) groups.unshift(membersOf(lastGroup[set]!));
  return groups;
}

/** Calls `visit` with the bit mask of every choice of `count` items. */
function forEachChoice(items: readonly number[], count: number, visit: (mask: number) => void, start = 0, mask = 0) {
  if (count === 0) return visit(mask);
  for (let index = start; index <= items.length - count; index++) {
    forEachChoice(items, count - 1, visit, index + 1, mask | (1 << items[index]!));
  }
}

function membersOf(mask: number): number[] {
  const members: number[] = [];
  for (let head = 0; 2 ** head <= mask; head++) if (mask & (1 << head)) members.push(head);
  return members;
}
