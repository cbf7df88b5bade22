import { contiguousHeads, everyHead, type GroupCost, type GroupingRequest, type RankedCost } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { groupHeads } from './group-heads.ts';
import { groupingByCost, measuredGrouping, namedGroupings } from './strategies.ts';
import { leastCost, randomCost, shuffled, totalCost } from './testing/partitions.ts';

function requestOf(numKeyValueHeads: number, wanted: number): GroupingRequest {
  return {
    layer: 0,
    statistics: undefined,
    numKeyValueHeads,
    wanted,
    headDim: 4,
    numAttentionHeads: numKeyValueHeads,
    cost: undefined,
  };
}

const small = requestOf(8, 4);
const large = requestOf(32, 8);

/** Families of heads scattered over the indices, and how many strangers a group of heads holds. */
function plantedCost({ numKeyValueHeads, wanted }: GroupingRequest): { planted: number[][]; strangers: GroupCost } {
  const order = shuffled(numKeyValueHeads, 5);
  const family = (head: number) => order[head]! % wanted;
  const planted = everyHead(wanted).map((index) =>
    everyHead(numKeyValueHeads).filter((head) => family(head) === index),
  );
  return {
    planted: planted.sort((left, right) => left[0]! - right[0]!),
    strangers: (heads) => heads.filter((head) => family(head) !== family(heads[0]!)).length,
  };
}

describe('groupingByCost', () => {
  it.each([small, large])('finds the planted groups', async (request) => {
    const { planted, strangers } = plantedCost(request);
    expect(
      await groupHeads(
        groupingByCost(() => strangers),
        request,
      ),
    ).toEqual(planted);
  });

  it('prepares the cost once a request', async () => {
    let prepared = 0;
    const costOf = () => {
      prepared += 1;
      return randomCost(1);
    };
    await groupHeads(groupingByCost(costOf), large);
    expect(prepared).toBe(1);
  });

  it('asks for the exact cost of all groups where that is affordable', async () => {
    const exact = randomCost(3);
    const cost: RankedCost = { exact, estimate: () => expect.unreachable(), work: () => 1e6 };
    const groups = await groupHeads(
      groupingByCost(() => cost),
      small,
    );
    expect(totalCost(groups, exact)).toBeCloseTo(leastCost(8, 2, exact), 12);
  });

  it.each([1, 2, 3])('never costs more than the contiguous groups where an estimate ranks (%s)', async (seed) => {
    const exact = randomCost(seed);
    for (const request of [small, large]) {
      const asked: number[][] = [];
      const counted: GroupCost = (heads) => {
        asked.push([...heads]);
        return exact(heads);
      };
      const cost: RankedCost = { exact: counted, estimate: randomCost(seed + 10), work: () => 1e9 };
      const groups = await groupHeads(
        groupingByCost(() => cost),
        request,
      );
      const contiguous = contiguousHeads(request.numKeyValueHeads, request.numKeyValueHeads / request.wanted);
      expect(totalCost(groups, exact)).toBeLessThanOrEqual(totalCost(contiguous, exact));
      expect(asked.length).toBeLessThanOrEqual(2 * request.wanted);
    }
  });
});

describe('measuredGrouping', () => {
  const noCost = () => expect.unreachable();

  it('measures every group of 8 heads once and takes the best partition', async () => {
    const asked: string[] = [];
    const measuredCost = async (heads: readonly number[]) => {
      asked.push(heads.join());
      return heads.reduce((product, head) => product * (head + 1), 1);
    };
    const groups = await groupHeads(measuredGrouping(noCost), { ...small, measuredCost });
    expect(groups).toEqual([
      [0, 7],
      [1, 6],
      [2, 5],
      [3, 4],
    ]);
    expect(asked).toHaveLength(28);
    expect(new Set(asked).size).toBe(28);
  });

  it('measures few groups of 32 heads, and finds what the cheap cost points at', async () => {
    const { planted, strangers } = plantedCost(large);
    const families = new Set(planted.map(String));
    let asked = 0;
    const measuredCost = async (heads: readonly number[]) => {
      asked += 1;
      return families.has(heads.join()) ? 0 : 1;
    };
    const strategy = measuredGrouping(() => strangers, { measurements: 40 });
    expect(await groupHeads(strategy, { ...large, measuredCost })).toEqual(planted);
    expect(asked).toBeLessThanOrEqual(40);
  });

  it('answers with contiguous groups where they measure best, or when it is stopped', async () => {
    const contiguous = contiguousHeads(32, 4);
    const kept = new Set(contiguous.map(String));
    const measuredCost = (heads: readonly number[]) => (kept.has(heads.join()) ? 0 : 1);
    const strategy = measuredGrouping(() => ({ exact: noCost, estimate: randomCost(2), work: noCost }));
    expect(await groupHeads(strategy, { ...large, measuredCost })).toEqual(contiguous);
    const stopped = { measuredCost: () => 1, signal: AbortSignal.abort() };
    expect(await groupHeads(strategy, { ...large, ...stopped })).toEqual(contiguous);
    expect(await groupHeads(strategy, { ...small, ...stopped })).toEqual(contiguousHeads(8, 2));
  });

  it('says that it needs a measured cost', async () => {
    const work = () => groupHeads(measuredGrouping(noCost), small);
    const failure = await expectKvlrError(work, 'grouping-invalid', 'expected a measured cost');
    expect(failure.where).toEqual({ argument: 'measuredCost', layer: 0 });
  });
});

describe('namedGroupings', () => {
  it('has one search for each cost, beside contiguous and measured groups', async () => {
    const { planted, strangers } = plantedCost(small);
    const strangeness = {
      description: 'Heads that are no strangers',
      needsStatistics: false,
      needsWeights: true,
      costOf: () => strangers,
    };
    const groupings = namedGroupings({ strangeness }, 'strangeness');
    expect(Object.keys(groupings)).toEqual(['contiguous', 'strangeness', 'measured-error']);
    expect(groupings.strangeness).toMatchObject({ needsWeights: true, needsMeasurement: false });
    expect(await groupHeads(groupings.strangeness!.strategy, small)).toEqual(planted);
  });
});
