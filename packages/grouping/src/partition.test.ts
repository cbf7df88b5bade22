import { contiguousHeads, createRandom } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CachedCost, canonicalGroups, Partition } from './partition.ts';
import { randomCost, totalCost } from './testing/partitions.ts';

describe('Partition', () => {
  it('keeps by increments the total that adding all groups up gives', () => {
    fc.assert(
      fc.property(fc.constantFrom([8, 2], [12, 3], [64, 4]), fc.nat(1e6), ([heads, size], seed) => {
        const cost = randomCost(seed);
        const partition = new Partition(contiguousHeads(heads!, size!), new CachedCost(heads!, cost));
        const random = createRandom(seed);
        const sample = (below: number) => Math.floor(random() * below);
        const count = heads! / size!;
        for (let move = 0; move < 30; move++) {
          const first = sample(count);
          const second = (first + 1 + sample(count - 1)) % count;
          const before = partition.total;
          const swap = partition.weighSwap(first, sample(size!), second, sample(size!));
          partition.apply(swap);
          expect(partition.total - before).toBeCloseTo(swap.change, 12);
        }
        const groups = canonicalGroups(partition.groups);
        expect(groups.flat().sort((left, right) => left - right)).toEqual(contiguousHeads(heads!, 1).flat());
        expect(partition.total).toBeCloseTo(totalCost(groups, cost), 10);
      }),
      { numRuns: 20 },
    );
  });

  it('asks for two groups a swap, and for known groups not at all', () => {
    const asked: number[][] = [];
    const cost = new CachedCost(8, randomCost(1, asked));
    const partition = new Partition(contiguousHeads(8, 2), cost);
    expect(asked).toHaveLength(4);
    partition.apply(partition.weighSwap(0, 1, 3, 0));
    expect(asked.slice(4)).toEqual([
      [0, 6],
      [1, 7],
    ]);
    partition.weighSwap(0, 1, 3, 0);
    expect(asked).toHaveLength(6);
    expect(cost.evaluations).toBe(6);
  });
});
