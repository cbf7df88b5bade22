import { lostEnergyCost } from '@kvlr/compression';
import { KvlrError } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { modelRequest } from '../../test-support/model-request.ts';
import { totalCost } from '../../test-support/partitions.ts';
import { plantedRequest } from '../../test-support/planted-request.ts';
import { contiguousPartition } from '../search/contiguous-partition.ts';
import { lostEnergyCosts, lostValueCosts } from './lost-energy-costs.ts';
import { lostKeyEnergy } from './lost-key-energy.ts';

const someGroups = [[0], [3], [0, 1], [1, 3], [0, 2, 3], [0, 1, 2, 3]];

describe('lostEnergyCosts', () => {
  it.each([4, 8])('agrees with what the factors of @kvlr/compression lose, with %s query heads', async (queryHeads) => {
    const model = createTinyModel({ seed: 2, numAttentionHeads: queryHeads, numKeyValueHeads: 4, attentionBias: true });
    const request = await modelRequest(model, 2);
    const { statistics, weights } = request;
    const expected = lostEnergyCost({ shape: model.shape, layer: 0, weights, statistics });
    const { exact } = lostEnergyCosts(request);
    for (const group of someGroups) expect(Math.abs(exact(group) - expected(group))).toBeLessThan(1e-7);
  });

  it('is zero within planted families and positive across them', () => {
    const { request, planted } = plantedRequest({ heads: 8, groups: 2, headDim: 4, noise: 0, seed: 3 });
    const { exact, surrogate } = lostEnergyCosts(request);
    for (const group of planted) expect(exact(group)).toBeLessThan(1e-6);
    const mixed = [...planted[0]!.slice(0, 2), ...planted[1]!.slice(0, 2)];
    expect(exact(mixed)).toBeGreaterThan(0.05);
    expect(surrogate(mixed)).toBeGreaterThan(surrogate(planted[0]!));
  });

  it('estimates a value cost that is right for the sum over the contiguous groups', () => {
    const { request } = plantedRequest({ heads: 8, groups: 2, headDim: 6, noise: 0.7, seed: 5 });
    const { exact, surrogate } = lostValueCosts(request);
    const contiguous = contiguousPartition(8, 4);
    expect(totalCost(contiguous, surrogate)).toBeCloseTo(totalCost(contiguous, exact), 12);
  });

  it('estimates the value cost exactly where heads are uncorrelated', () => {
    const { request } = plantedRequest({ heads: 4, groups: 2, headDim: 4, noise: 0.5, seed: 6 });
    const { headDim, statistics } = request;
    const valueSecondMoment = statistics.valueSecondMoment.map((value, index) => {
      const row = Math.floor(index / (4 * headDim));
      const column = index % (4 * headDim);
      return Math.floor(row / headDim) === Math.floor(column / headDim) ? value : 0;
    });
    const { exact, surrogate } = lostValueCosts({ ...request, statistics: { ...statistics, valueSecondMoment } });
    for (const group of someGroups) expect(surrogate(group)).toBeCloseTo(exact(group), 10);
  });

  it('estimates no loss for equal heads', () => {
    const { request } = plantedRequest({ heads: 4, groups: 2, headDim: 4, noise: 0.5, seed: 6 });
    const { headDim, statistics, weights } = request;
    const width = 4 * headDim;
    const first = (index: number) => index % headDim;
    const valueSecondMoment = statistics.valueSecondMoment.map(
      (_, index) => statistics.valueSecondMoment[first(Math.floor(index / width)) * width + first(index % width)]!,
    );
    const output = weights.output.map(
      (_, index) => weights.output[Math.floor(index / width) * width + first(index % width)]!,
    );
    const equal = { ...request, statistics: { ...statistics, valueSecondMoment }, weights: { ...weights, output } };
    const { exact, surrogate } = lostValueCosts(equal);
    expect(surrogate([0, 1, 2, 3])).toBeLessThan(1e-12);
    expect(exact([0, 1, 2, 3])).toBeLessThan(1e-12);
  });

  it('does not depend on the order of the heads', () => {
    const { request } = plantedRequest({ heads: 6, groups: 2, headDim: 4, noise: 0.4, seed: 8 });
    const { exact, surrogate } = lostEnergyCosts(request);
    for (const cost of [exact, surrogate, lostKeyEnergy(request)])
      expect(cost([5, 0, 3])).toBeCloseTo(cost([0, 3, 5]), 12);
  });

  it('says what a request lacks', () => {
    const { request } = plantedRequest({ heads: 4, groups: 2, headDim: 4, noise: 0.4, seed: 8 });
    for (const [lacking, words] of [
      [{ statistics: undefined }, /expected statistics/],
      [{ weights: undefined }, /expected the layer's attention weights/],
    ] as const) {
      try {
        lostEnergyCosts({ ...request, ...lacking });
        expect.unreachable();
      } catch (error) {
        expect(KvlrError.isInstance(error) && error.code).toBe('grouping-invalid');
        expect((error as KvlrError).message).toMatch(words);
      }
    }
  });
});
