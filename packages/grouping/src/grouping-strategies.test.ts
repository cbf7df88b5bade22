import { mergeError } from '@kvlr/compression';
import { createNormalRandom, KvlrError } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import { createPlantedModel, createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { modelRequest } from '../test-support/model-request.ts';
import { leastCost, totalCost } from '../test-support/partitions.ts';
import { plantedRequest } from '../test-support/planted-request.ts';
import { lostEnergyCosts } from './costs/lost-energy-costs.ts';
import { groupHeads } from './group-heads.ts';
import { groupingStrategies } from './grouping-strategies.ts';
import { resolveGrouping } from './resolve-grouping.ts';
import { contiguousPartition } from './search/contiguous-partition.ts';
import { canonicalGroups } from './search/partition.ts';
import { measuredGrouping } from './strategies/measured-grouping.ts';

const names = Object.keys(groupingStrategies);
const small = plantedRequest({ heads: 8, groups: 4, headDim: 4, noise: 0.2, seed: 12 });
const large = plantedRequest({ heads: 32, groups: 8, headDim: 4, noise: 0.2, seed: 13 });

describe('groupingStrategies', () => {
  it.each(names)('%s answers with valid groups for a model, and twice the same', async (name) => {
    const model = createTinyModel({ seed: 1, numAttentionHeads: 8, numKeyValueHeads: 4 });
    const request = { ...(await modelRequest(model, 2)), measuredCost: ([head]: readonly number[]) => head! };
    const groups = await groupHeads(resolveGrouping(name), request, name);
    expect(await groupHeads(resolveGrouping(name), request, name)).toEqual(groups);
  });

  it.each(names)('%s needs no more than it says', async (name) => {
    const { strategy, needsStatistics, needsWeights, needsMeasurement } = groupingStrategies[name]!;
    const request = {
      ...small.request,
      statistics: needsStatistics ? small.request.statistics : undefined,
      weights: needsWeights ? small.request.weights : undefined,
      measuredCost: needsMeasurement ? () => 1 : undefined,
    };
    expect(await groupHeads(strategy, request, name)).toHaveLength(4);
  });

  const seeing = names.filter((name) => !['contiguous', 'weight-similarity', 'measured-error'].includes(name));

  it.each(seeing)('%s finds planted families among 8 heads and among 32', async (name) => {
    for (const { request, planted } of [small, large]) {
      const groups = await groupHeads(resolveGrouping(name), request, name);
      expect(canonicalGroups(groups)).toEqual(planted);
    }
  });

  it('weight-similarity finds heads with the same projections', async () => {
    const { request, planted } = small;
    const size = request.weights.key.length / 8;
    const copies = (weight: Float64Array) =>
      weight.map((_, index) => {
        const family = planted.find((group) => group.includes(Math.floor(index / size)))!;
        return weight[family[0]! * size + (index % size)]!;
      });
    const weights = { ...request.weights, key: copies(request.weights.key), value: copies(request.weights.value) };
    expect(await groupHeads(resolveGrouping('weight-similarity'), { ...request, weights })).toEqual(planted);
  });
});

describe('lost-energy', () => {
  it('finds the least exact cost among 8 heads', async () => {
    const { request } = plantedRequest({ heads: 8, groups: 2, headDim: 4, noise: 3, seed: 21 });
    const { exact } = lostEnergyCosts(request);
    const groups = await groupHeads(resolveGrouping('lost-energy'), request);
    expect(totalCost(groups, exact)).toBeCloseTo(leastCost(8, 4, exact), 10);
  });

  it.each([1, 2, 3])(
    'never costs more than contiguous groups where only a surrogate can be searched (%s)',
    async (seed) => {
      const { request } = plantedRequest({ heads: 20, groups: 5, headDim: 4, noise: 5, seed });
      const { exact } = lostEnergyCosts(request);
      const groups = await groupHeads(resolveGrouping('lost-energy'), request);
      expect(totalCost(groups, exact)).toBeLessThanOrEqual(totalCost(contiguousPartition(20, 4), exact));
    },
  );

  it('takes the cost of the request where there are no statistics', async () => {
    const cost = (heads: readonly number[]) => new Set(heads.map((head) => head % 4)).size;
    const groups = await groupHeads(resolveGrouping('lost-energy'), { ...small.request, statistics: undefined, cost });
    expect(groups).toEqual([
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ]);
  });
});

describe('measured-error', () => {
  it('measures every group of 8 heads once and takes the best partition', async () => {
    const asked: string[] = [];
    const measuredCost = async (heads: readonly number[]) => {
      asked.push(heads.join());
      return heads.reduce((product, head) => product * (head + 1), 1);
    };
    const groups = await groupHeads(resolveGrouping('measured-error'), { ...small.request, measuredCost });
    expect(groups).toEqual([
      [0, 7],
      [1, 6],
      [2, 5],
      [3, 4],
    ]);
    expect(asked).toHaveLength(28);
    expect(new Set(asked).size).toBe(28);
  });

  it.each([8, 16])(
    'finds the planted groups of a model by merging them (%d query heads)',
    async (numAttentionHeads) => {
      const groups = [
        [0, 5],
        [1, 3],
        [2, 7],
        [4, 6],
      ];
      const model = createPlantedModel({ numAttentionHeads, numKeyValueHeads: 8, attentionBias: true, groups });
      const { shape } = model;
      const request = await modelRequest(model, 4);
      const rows = createMatrix(
        24,
        shape.hiddenSize,
        Float64Array.from({ length: 24 * shape.hiddenSize }, createNormalRandom(3)),
      );
      const error = mergeError({ ...request, shape }, 'rope-averaged', { rows, tokens: 12 });
      const measuredCost = (heads: readonly number[]) => error([heads]);
      expect(await groupHeads(resolveGrouping('measured-error'), { ...request, measuredCost })).toEqual(groups);
    },
  );

  it('measures few groups of 32 heads, and finds what lost energy points at', async () => {
    const { request, planted } = large;
    const families = new Set(planted.map(String));
    let asked = 0;
    const measuredCost = async (heads: readonly number[]) => {
      asked += 1;
      return families.has(heads.join()) ? 0 : 1;
    };
    const groups = await groupHeads(measuredGrouping({ measurements: 40 }), { ...request, measuredCost });
    expect(groups).toEqual(planted);
    expect(asked).toBeLessThanOrEqual(40);
  });

  it('answers with contiguous groups where they measure best, or when it is stopped', async () => {
    const contiguous = contiguousPartition(32, 4);
    const kept = new Set(contiguous.map(String));
    const measuredCost = (heads: readonly number[]) => (kept.has(heads.join()) ? 0 : 1);
    const strategy = resolveGrouping('measured-error');
    expect(await groupHeads(strategy, { ...large.request, measuredCost })).toEqual(contiguous);
    const stopped = { measuredCost: () => 1, signal: AbortSignal.abort() };
    expect(await groupHeads(strategy, { ...large.request, ...stopped })).toEqual(contiguous);
    expect(await groupHeads(strategy, { ...small.request, ...stopped })).toEqual(contiguousPartition(8, 2));
  });

  it('says that it needs a measured cost', async () => {
    const failure = await groupHeads(resolveGrouping('measured-error'), small.request).catch((error: unknown) => error);
    expect(KvlrError.isInstance(failure) && failure.code).toBe('grouping-invalid');
    expect((failure as KvlrError).message).toMatch(/measured-error \(layer 0\): expected a measured cost/);
  });
});
