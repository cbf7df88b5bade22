import { createRandom } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { validateGroups } from '../validate-groups.ts';
import { minimumCostPartition } from './minimum-cost-partition.ts';
import { swapPartition } from './swap-partition.ts';

/** Costs drawn at random per group, the same for the same group. */
function randomCost(seed: number, asked: number[][] = []) {
  return (heads: readonly number[]): number => {
    asked.push([...heads]);
    const key = heads.reduce((sum, head) => sum + 2 ** head, 0);
    return createRandom(seed * 7919 + key)();
  };
}

const total = (groups: number[][], cost: (heads: readonly number[]) => number) =>
  groups.reduce((sum, group) => sum + cost(group), 0);

/** Every partition, by plain recursion: the oracle. */
function everyPartition(free: number[], size: number): number[][][] {
  const [first, ...others] = free;
  if (first === undefined) return [[]];
  const choose = (items: number[], count: number): number[][] =>
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

const shapes = fc.constantFrom([4, 1], [4, 2], [4, 4], [6, 2], [6, 3], [8, 2], [8, 4]);

describe('minimumCostPartition', () => {
  it('finds the least sum among all partitions', () => {
    fc.assert(
      fc.property(shapes, fc.nat(1e6), ([heads, size], seed) => {
        const cost = randomCost(seed);
        const all = everyPartition(
          Array.from({ length: heads! }, (_, head) => head),
          size!,
        );
        const least = Math.min(...all.map((groups) => total(groups, cost)));
        const found = minimumCostPartition(heads!, size!, cost);
        expect(validateGroups(found, heads!, heads! / size!)).toEqual(found);
        expect(total(found, cost)).toBeCloseTo(least, 12);
      }),
      { numRuns: 60 },
    );
  });

  it('asks for each group once', () => {
    const asked: number[][] = [];
    minimumCostPartition(8, 2, randomCost(1, asked));
    expect(asked).toHaveLength(28);
    expect(new Set(asked.map(String)).size).toBe(28);
  });

  it('pairs 16 heads that were split apart', () => {
    const partner = (head: number) => (head + 8) % 16;
    const groups = minimumCostPartition(16, 2, ([left, right]) => (partner(left!) === right ? 0 : 1));
    expect(groups).toEqual(Array.from({ length: 8 }, (_, head) => [head, head + 8]));
  });

  it('refuses costs that are not numbers, and too many heads', () => {
    expect(() => minimumCostPartition(4, 2, () => Number.NaN)).toThrow(/got NaN/);
    expect(() => minimumCostPartition(32, 2, () => 1)).toThrow(/at most 20 heads/);
  });
});

describe('swapPartition', () => {
  it('gives a valid partition, never better than the exact one', () => {
    fc.assert(
      fc.property(shapes, fc.nat(1e6), ([heads, size], seed) => {
        const cost = randomCost(seed);
        const found = swapPartition(heads!, size!, cost);
        expect(validateGroups(found, heads!, heads! / size!)).toEqual(found);
        const sum = total(found, cost);
        const best = total(minimumCostPartition(heads!, size!, cost), cost);
        expect(sum).toBeGreaterThanOrEqual(best - 1e-12);
      }),
      { numRuns: 40 },
    );
  });

  it('finds planted groups among 32 heads', () => {
    const cost = (heads: readonly number[]) => new Set(heads.map((head) => head % 8)).size - 1;
    const groups = swapPartition(32, 4, cost);
    expect(total(groups, cost)).toBe(0);
  });
});
