import { createRandom, everyHead, type GroupCost } from '@kvlr/core';

/** Random costs per group, the same for the same group. */
export function randomCost(seed: number, asked: number[][] = []): GroupCost {
  return (heads) => {
    asked.push([...heads]);
    return createRandom(heads.reduce((key, head) => Math.imul(key ^ (head + 1), 0x9e3779b1), seed * 7919 + 1))();
  };
}

export const totalCost = (groups: readonly (readonly number[])[], cost: GroupCost): number =>
  groups.reduce((sum, group) => sum + cost(group), 0);

/** Every partition of `free` into groups of `size`, by plain recursion: an oracle. */
function everyPartition(free: readonly number[], size: number): number[][][] {
  const [first, ...others] = free;
  if (first === undefined) return [[]];
  const choose = (items: readonly number[], count: number): number[][] =>
    count === 0
      ? [[]]
      : items.flatMap((item, index) => choose(items.slice(index + 1), count - 1).map((rest) => [item, ...rest]));
  return choose(others, size - 1).flatMap((rest) => {
    const group = [first, ...rest];
    return everyPartition(
      free.filter((head) => !group.includes(head)),
      size,
    ).map((groups) => [group, ...groups]);
  });
}

/** The least total cost of any partition. */
export function leastCost(heads: number, size: number, cost: GroupCost): number {
  return Math.min(...everyPartition(everyHead(heads), size).map((groups) => totalCost(groups, cost)));
}

/** 0..count-1 in a random order. */
export function shuffled(count: number, seed: number): number[] {
  const random = createRandom(seed);
  const keys = Array.from({ length: count }, () => random());
  return everyHead(count).sort((left, right) => keys[left]! - keys[right]!);
}
