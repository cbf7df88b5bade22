import { describe, expect, it } from 'vitest';
import { rescorePartitions } from './ranked-search.ts';
import { randomCost, totalCost } from './testing/partitions.ts';

const candidates = [
  [
    [0, 1],
    [2, 3],
    [4, 5],
  ],
  [
    [0, 1],
    [2, 4],
    [3, 5],
  ],
  [
    [5, 0],
    [1, 2],
    [3, 4],
  ],
];

describe('rescorePartitions', () => {
  it('takes the candidate of least expensive cost and measures each group once', async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const asked: number[][] = [];
      const cost = randomCost(seed, asked);
      const best = await rescorePartitions(candidates, async (group) => cost(group));
      const ordered = candidates.map((groups) => groups.map((group) => group.toSorted((a, b) => a - b)));
      expect(asked).toHaveLength(8);
      expect(best.cost).toBeCloseTo(Math.min(...ordered.map((groups) => totalCost(groups, cost))), 12);
      expect(totalCost(best.groups, cost)).toBeCloseTo(best.cost, 12);
    }
  });

  it('leaves out what the budget does not cover, but measures the first in any case', async () => {
    const asked: number[][] = [];
    const cost = (group: readonly number[]) => {
      asked.push([...group]);
      return group.includes(5) && group.includes(0) ? -10 : 1;
    };
    expect((await rescorePartitions(candidates, cost, { measurements: 5 })).groups).toEqual(candidates[0]);
    expect(asked).toHaveLength(5);
    expect((await rescorePartitions(candidates, cost, { measurements: 0 })).groups).toEqual(candidates[0]);
    expect((await rescorePartitions(candidates, cost)).groups[0]).toEqual([0, 5]);
  });

  it('answers an abort with the best that was measured in full', async () => {
    const stop = new AbortController();
    const best = await rescorePartitions(
      candidates,
      (group) => {
        if (group.join() === '2,4') stop.abort();
        return -group[1]!;
      },
      { signal: stop.signal },
    );
    expect(best.groups).toEqual(candidates[0]);
  });
});
