import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { minimumCostPartition } from './exact-search.ts';
import { validateGroups } from './group-heads.ts';
import { leastCost, randomCost, totalCost } from './testing/partitions.ts';

const shapes = fc.constantFrom([4, 1], [4, 2], [4, 4], [6, 2], [6, 3], [8, 2], [8, 4]);

describe('minimumCostPartition', () => {
  it('finds the least sum among all partitions', () => {
    fc.assert(
      fc.property(shapes, fc.nat(1e6), ([heads, size], seed) => {
        const cost = randomCost(seed);
        const found = minimumCostPartition(heads!, size!, cost);
        expect(validateGroups(found, heads!, heads! / size!)).toEqual(found);
        expect(totalCost(found, cost)).toBeCloseTo(leastCost(heads!, size!, cost), 12);
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
