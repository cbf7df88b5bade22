import { contiguousHeads, everyHead, type GroupCost } from '@kvlr/core';
import { createComplexMatrix, eigHermitian, eigSymmetric, multiply, selectTiles, trace } from '@kvlr/linalg';
import { complexKeyMoments } from '@kvlr/rope';
import { createPlantedModel, createTinyModel, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { metricRoots } from '../factors/subspace.ts';
import { outputMetric, queryEnergy } from '../moments.ts';
import type { SourceLayer } from '../source-layer.ts';
import { readSourceLayer } from '../testing/compress-model.ts';
import { plantedLayer } from '../testing/planted-layer.ts';
import { lostEnergy, lostKeyEnergy, lostValueEnergy } from './lost-energy.ts';

const someGroups = [[0], [3], [0, 1], [1, 3], [0, 2, 3], [0, 1, 2, 3]];
const sumOver = (groups: readonly (readonly number[])[], cost: GroupCost) =>
  groups.reduce((sum, group) => sum + cost(group), 0);

/** Energy beyond the leading eigenvalues as whole decompositions give it, by the formulas and without short cuts. */
function lostByDecomposition({ shape, weights, layer, statistics }: SourceLayer, headWidth: number): GroupCost {
  const { headDim, numKeyValueHeads } = shape;
  const source = { shape, weights, layer, statistics };
  const heads = everyHead(numKeyValueHeads);
  const listening = queryEnergy(source, heads).data;
  const gammas = complexKeyMoments(statistics!.keySecondMoment, numKeyValueHeads, headDim);
  const { root } = metricRoots(outputMetric(source, heads));
  const values = multiply(multiply(root, selectTiles(statistics!.valueSecondMoment, headDim, heads)), root);
  const beyond = (spectrum: Float64Array, kept: number) =>
    spectrum.subarray(kept).reduce((sum, value) => sum + Math.max(0, value), 0);
  const spectraOfKeys = (group: readonly number[]) =>
    gammas.map((gamma, frequency) => {
      const weighed = createComplexMatrix(group.length, group.length);
      group.forEach((left, row) => {
        group.forEach((right, column) => {
          const weight = Math.sqrt(
            listening[(left * headDim) / 2 + frequency]! * listening[(right * headDim) / 2 + frequency]!,
          );
          weighed.real[row * group.length + column] = weight * gamma.real[left * numKeyValueHeads + right]!;
          weighed.imag[row * group.length + column] = weight * gamma.imag[left * numKeyValueHeads + right]!;
        });
      });
      return eigHermitian(weighed).values;
    });
  const keyEnergy = heads.flatMap((head) => spectraOfKeys([head])).reduce((sum, [energy]) => sum + energy!, 0);
  return (group) => {
    const lostKeys = spectraOfKeys(group).reduce((sum, spectrum) => sum + beyond(spectrum, headWidth), 0);
    const lostValues = beyond(eigSymmetric(selectTiles(values.data, headDim, group)).values, headWidth * headDim);
    return lostKeys / keyEnergy + lostValues / trace(values);
  };
}

describe('lostEnergy', () => {
  it.each([
    [4, 1],
    [8, 1],
    [4, 2],
    [8, 3],
  ])(
    'is what whole decompositions lose, with %s query heads and shared heads %s wide',
    async (numAttentionHeads, m) => {
      const settings = { seed: 2, numAttentionHeads, numKeyValueHeads: 4, attentionBias: true };
      const layer = await readSourceLayer(createTinyModel(settings), 0);
      const expected = lostByDecomposition(layer, m);
      const { exact } = lostEnergy(layer, 2, m);
      for (const group of someGroups) expect(Math.abs(exact(group) - expected(group))).toBeLessThan(1e-7);
    },
  );

  it('is nothing for heads of a planted model that merge without loss', async () => {
    const planted = [
      [0, 2],
      [1, 3],
    ];
    const settings = { seed: 4, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true, groups: planted };
    const { exact } = lostEnergy(await readSourceLayer(createPlantedModel(settings), 0), 2);
    for (const heads of [[0], [3], ...planted]) expect(exact(heads)).toBeLessThan(1e-6);
    for (const heads of [
      [0, 1],
      [2, 3],
      [0, 1, 2, 3],
    ])
      expect(exact(heads)).toBeGreaterThan(1e-2);
  });

  it('grows with the group and stays a share', async () => {
    const { exact } = lostEnergy(await readSourceLayer(createTinyModel({ seed: 4, numKeyValueHeads: 4 }), 1), 2);
    expect(exact([0, 1, 2])).toBeGreaterThan(exact([0, 1]));
    expect(exact([0, 1]) + exact([2, 3])).toBeLessThan(exact([0, 1, 2, 3]));
    expect(exact([0, 1, 2, 3])).toBeLessThan(2);
  });

  it('is zero within planted families and positive across them', () => {
    const { layer, planted } = plantedLayer({ numHeads: 8, groups: 2, headDim: 4, noise: 0, seed: 3 });
    const { exact, estimate } = lostEnergy(layer, 2);
    for (const group of planted) expect(exact(group)).toBeLessThan(1e-6);
    const mixed = [...planted[0]!.slice(0, 2), ...planted[1]!.slice(0, 2)];
    expect(exact(mixed)).toBeGreaterThan(0.05);
    expect(estimate(mixed)).toBeGreaterThan(estimate(planted[0]!));
  });

  it('does not depend on the order of the heads', () => {
    const { layer } = plantedLayer({ numHeads: 6, groups: 2, headDim: 4, noise: 0.4, seed: 8 });
    const { exact, estimate } = lostEnergy(layer, 2);
    for (const cost of [exact, estimate, lostKeyEnergy(layer, 2).exact])
      expect(cost([5, 0, 3])).toBeCloseTo(cost([0, 3, 5]), 12);
  });

  it.each([
    ['statistics', 'expected statistics of the layer'],
    ['weights', 'expected the attention weights of the layer'],
  ])('says that a layer lacks %s', (argument, words) => {
    const { layer } = plantedLayer({ numHeads: 4, groups: 2, headDim: 4, noise: 0.4, seed: 8 });
    const error = expectKvlrError(() => lostEnergy({ ...layer, [argument]: undefined }, 2), 'invalid-argument', words);
    expect(error.where).toEqual({ layer: 0, argument });
  });
});

describe('the estimate of lost value energy', () => {
  it('is right for the sum over the contiguous groups', () => {
    const { layer } = plantedLayer({ numHeads: 8, groups: 2, headDim: 6, noise: 0.7, seed: 5 });
    const { exact, estimate } = lostValueEnergy(layer, 2);
    expect(sumOver(contiguousHeads(8, 4), estimate)).toBeCloseTo(sumOver(contiguousHeads(8, 4), exact), 12);
  });

  it('is exact where heads are uncorrelated', () => {
    const { layer } = plantedLayer({ numHeads: 4, groups: 2, headDim: 4, noise: 0.5, seed: 6 });
    const { shape, statistics } = layer;
    const headOf = (index: number) => Math.floor(index / shape.headDim);
    const width = 4 * shape.headDim;
    const valueSecondMoment = statistics.valueSecondMoment.map((value, index) =>
      headOf(Math.floor(index / width)) === headOf(index % width) ? value : 0,
    );
    const { exact, estimate } = lostValueEnergy({ ...layer, statistics: { ...statistics, valueSecondMoment } }, 2);
    for (const group of someGroups) expect(estimate(group)).toBeCloseTo(exact(group), 10);
  });

  it('is no loss for equal heads', () => {
    const { layer } = plantedLayer({ numHeads: 4, groups: 2, headDim: 4, noise: 0.5, seed: 6 });
    const { shape, statistics, weights } = layer;
    const width = 4 * shape.headDim;
    const first = (index: number) => index % shape.headDim;
    const valueSecondMoment = statistics.valueSecondMoment.map(
      (_, index) => statistics.valueSecondMoment[first(Math.floor(index / width)) * width + first(index % width)]!,
    );
    const output = weights.output.map(
      (_, index) => weights.output[Math.floor(index / width) * width + first(index % width)]!,
    );
    const equal = { ...layer, statistics: { ...statistics, valueSecondMoment }, weights: { ...weights, output } };
    const { exact, estimate } = lostValueEnergy(equal, 2);
    expect(estimate([0, 1, 2, 3])).toBeLessThan(1e-12);
    expect(exact([0, 1, 2, 3])).toBeLessThan(1e-12);
  });
});
