import { contiguousHeads, type GroupCost, KvlrError } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { searchPartition } from './any-time-search.ts';
import { validateGroups } from './group-heads.ts';
import { leastCost, randomCost, shuffled, totalCost } from './testing/partitions.ts';

/** Cost 1 for each pair of heads of different families, plus a little noise per group. */
function plantedCost(heads: number, groups: number, seed: number, noise = 0): { cost: GroupCost; planted: number[][] } {
  const order = shuffled(heads, seed);
  const random = randomCost(seed);
  const family = (head: number) => order[head]! % groups;
  const planted = Array.from({ length: groups }, (_, index) =>
    Array.from({ length: heads }, (_, head) => head).filter((head) => family(head) === index),
  ).sort((left, right) => left[0]! - right[0]!);
  const cost: GroupCost = (group) => {
    const strangers = group.flatMap((left, i) => group.slice(i + 1).filter((right) => family(left) !== family(right)));
    return strangers.length + noise * random(group);
  };
  return { cost, planted };
}

const shapes = fc.constantFrom([4, 2], [6, 2], [6, 3], [8, 4], [12, 6], [20, 2], [32, 4], [64, 8]);

describe('searchPartition', () => {
  it('gives valid groups that never cost more than the contiguous ones, whatever the budget', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, fc.nat(1e6), fc.nat(400), async ([heads, size], seed, evaluations) => {
        const cost = randomCost(seed);
        const found = await searchPartition(heads!, size!, cost, { seed, evaluations });
        expect(validateGroups(found.groups, heads!, heads! / size!)).toEqual(found.groups);
        expect(found.cost).toBeCloseTo(totalCost(found.groups, cost), 12);
        expect(found.cost).toBeLessThanOrEqual(totalCost(contiguousHeads(heads!, size!), cost));
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    [6, 2],
    [6, 3],
    [8, 2],
    [8, 4],
    [9, 3],
  ])('finds the least cost there is for %s heads in groups of %s', async (heads, size) => {
    for (let seed = 1; seed <= 8; seed++) {
      const cost = randomCost(seed);
      const found = await searchPartition(heads, size, cost, { seed });
      expect(found.cost).toBeCloseTo(leastCost(heads, size, cost), 12);
    }
  });

  it.each([
    [32, 8, 0],
    [32, 8, 0.9],
    [32, 16, 0.9],
    [64, 8, 0.5],
    [128, 16, 0.5],
  ])('finds planted groups: %s heads into %s, noise %s', async (heads, groups, noise) => {
    const { cost, planted } = plantedCost(heads, groups, 7, noise);
    const found = await searchPartition(heads, heads / groups, cost);
    expect(found.groups).toEqual(planted);
  });

  it('repeats itself with a seed and an evaluation limit, and another seed walks elsewhere', async () => {
    const walk = async (seed: number) => {
      const asked: number[][] = [];
      const found = await searchPartition(32, 4, randomCost(3, asked), { seed, evaluations: 3000 });
      return { found, asked };
    };
    const first = await walk(5);
    expect(await walk(5)).toEqual(first);
    expect((await walk(6)).asked).not.toEqual(first.asked);
  });

  it('improves on greedy swaps by annealing', async () => {
    const cost = randomCost(11);
    const short = await searchPartition(24, 3, cost, { evaluations: 600 });
    const long = await searchPartition(24, 3, cost, { evaluations: 2024 });
    expect(long.cost).toBeLessThan(short.cost);
    expect(short.end).toBe('evaluations');
    expect(short.evaluations).toBeLessThanOrEqual(602);
  });

  it('answers an abort with the best so far', async () => {
    const stop = new AbortController();
    let asked = 0;
    const { cost: planted } = plantedCost(32, 8, 2);
    const cost: GroupCost = (group) => {
      asked += 1;
      if (asked === 700) stop.abort();
      return planted(group);
    };
    const found = await searchPartition(32, 4, cost, { signal: stop.signal });
    expect(found.end).toBe('aborted');
    expect(found.evaluations).toBeLessThan(760);
    expect(found.cost).toBeLessThan(totalCost(contiguousHeads(32, 4), planted));

    const never = await searchPartition(32, 4, planted, { signal: AbortSignal.abort() });
    expect(never.end).toBe('aborted');
    expect(never.groups).toEqual(contiguousHeads(32, 4));
  });

  it('lets an abort from outside arrive while it computes', async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 5);
    const slow: GroupCost = (group) => {
      let sum = 0;
      for (let index = 0; index < 20_000; index++) sum += Math.sin(index + group[0]!);
      return 2 + Math.sin(sum);
    };
    const found = await searchPartition(64, 4, slow, { signal: stop.signal, evaluations: 1e6 });
    expect(found.end).toBe('aborted');
  });

  it('stops at a time limit', async () => {
    const found = await searchPartition(64, 4, randomCost(1), { milliseconds: 0 });
    expect(found.end).toBe('time');
    expect(found.groups).toEqual(contiguousHeads(64, 4));
  });

  it('returns different candidates, the cheapest first', async () => {
    const cost = randomCost(4);
    const { candidates, groups } = await searchPartition(16, 4, cost, { candidates: 5 });
    expect(candidates).toHaveLength(5);
    expect(candidates[0]!.groups).toEqual(groups);
    expect(new Set(candidates.map((candidate) => JSON.stringify(candidate.groups))).size).toBe(5);
    const costs = candidates.map((candidate) => candidate.cost);
    expect(costs).toEqual(costs.toSorted((left, right) => left - right));
  });

  it.each([
    [8, 1],
    [8, 8],
  ])('has nothing to search for %s heads in groups of %s', async (heads, size) => {
    const found = await searchPartition(heads, size, randomCost(1));
    expect(found.groups).toEqual(contiguousHeads(heads, size));
    expect(found.evaluations).toBe(heads / size);
  });

  it('refuses sizes that do not divide and costs that are not numbers', async () => {
    await expect(searchPartition(8, 3, () => 0)).rejects.toThrow(/divides 8 heads, got 3/);
    const failure = await searchPartition(8, 2, () => Number.NaN).catch((error: unknown) => error);
    expect(KvlrError.isInstance(failure) && failure.code).toBe('numerical');
  });
});
