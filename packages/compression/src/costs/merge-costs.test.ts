import { contiguousHeads, createNormalRandom, type GroupingRequest } from '@kvlr/core';
import { groupHeads, namedGroupings } from '@kvlr/grouping';
import { createMatrix } from '@kvlr/linalg';
import { createPlantedModel, createTinyModel, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { readSourceLayer } from '../testing/compress-model.ts';
import { type FullLayer, plantedLayer, requestOf } from '../testing/planted-layer.ts';
import { lostEnergy } from './lost-energy.ts';
import { mergeCosts } from './merge-costs.ts';
import { mergeError } from './merge-error.ts';

const groupings = namedGroupings(mergeCosts, 'lost-energy');
const names = Object.keys(groupings);
const small = plantedLayer({ numHeads: 8, groups: 4, headDim: 4, noise: 0.2, seed: 12 });
const large = plantedLayer({ numHeads: 32, groups: 8, headDim: 4, noise: 0.2, seed: 13 });

/** The groups by one of the named groupings, heads ascending, groups by their first heads. */
async function grouped(name: string, layer: FullLayer, wanted: number, extra: Partial<GroupingRequest> = {}) {
  const groups = await groupHeads(groupings[name]!.strategy, { ...requestOf(layer, wanted), ...extra });
  return groups
    .map((group) => group.toSorted((left, right) => left - right))
    .sort((left, right) => left[0]! - right[0]!);
}

describe('the groupings by merge costs', () => {
  it.each(names)('%s answers with valid groups for a model, and twice the same', async (name) => {
    const model = createTinyModel({ seed: 1, numAttentionHeads: 8, numKeyValueHeads: 4 });
    const layer = (await readSourceLayer(model, 0)) as FullLayer;
    const measured = { measuredCost: ([head]: readonly number[]) => head! };
    const groups = await grouped(name, layer, 2, measured);
    expect(await grouped(name, layer, 2, measured)).toEqual(groups);
  });

  it.each(names)('%s needs no more than it says', async (name) => {
    const { needsStatistics, needsWeights, needsMeasurement } = groupings[name]!;
    const groups = await grouped(name, small.layer, 4, {
      statistics: needsStatistics ? small.layer.statistics : undefined,
      weights: needsWeights ? small.layer.weights : undefined,
      measuredCost: needsMeasurement ? () => 1 : undefined,
    });
    expect(groups).toHaveLength(4);
  });

  const seeing = names.filter((name) => !['contiguous', 'weight-similarity', 'measured-error'].includes(name));

  it.each(seeing)('%s finds planted families among 8 heads and among 32', async (name) => {
    expect(await grouped(name, small.layer, 4)).toEqual(small.planted);
    expect(await grouped(name, large.layer, 8)).toEqual(large.planted);
  });

  it('weight-similarity finds heads with the same projections', async () => {
    const { layer, planted } = small;
    const size = layer.weights.key.length / 8;
    const copies = (weight: Float64Array) =>
      weight.map((_, index) => {
        const family = planted.find((group) => group.includes(Math.floor(index / size)))!;
        return weight[family[0]! * size + (index % size)]!;
      });
    const weights = { ...layer.weights, key: copies(layer.weights.key), value: copies(layer.weights.value) };
    expect(await grouped('weight-similarity', { ...layer, weights }, 4)).toEqual(planted);
  });
});

describe('lost-energy', () => {
  it.each([1, 2, 3])(
    'never costs more than contiguous groups where only the estimate can be searched (%s)',
    async (seed) => {
      const { layer } = plantedLayer({ numHeads: 20, groups: 5, headDim: 4, noise: 5, seed });
      const { exact } = lostEnergy(layer, 5);
      const total = (groups: number[][]) => groups.reduce((sum, group) => sum + exact(group), 0);
      expect(total(await grouped('lost-energy', layer, 5))).toBeLessThanOrEqual(total(contiguousHeads(20, 4)));
    },
  );

  it('takes the cost of the request where there are no statistics', async () => {
    const cost = (heads: readonly number[]) => new Set(heads.map((head) => head % 4)).size;
    expect(await grouped('lost-energy', small.layer, 4, { statistics: undefined, cost })).toEqual([
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ]);
  });

  it('says that it needs statistics or a cost', async () => {
    const work = () => grouped('lost-energy', small.layer, 4, { statistics: undefined });
    expect((await expectKvlrError(work, 'invalid-argument')).hint).toContain('contiguous');
  });
});

describe('measured-error', () => {
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
      const layer = await readSourceLayer(model, 0);
      const { hiddenSize } = model.shape;
      const numbers = Float64Array.from({ length: 24 * hiddenSize }, createNormalRandom(3));
      const error = mergeError(layer, 'rope-averaged', { rows: createMatrix(24, hiddenSize, numbers), tokens: 12 });
      const measuredCost = (heads: readonly number[]) => error([heads]);
      expect(await grouped('measured-error', layer as FullLayer, 4, { measuredCost })).toEqual(groups);
    },
  );

  it('measures few groups of 32 heads, and finds what lost energy points at', async () => {
    const families = new Set(large.planted.map(String));
    const measuredCost = (heads: readonly number[]) => (families.has(heads.join()) ? 0 : 1);
    expect(await grouped('measured-error', large.layer, 8, { measuredCost })).toEqual(large.planted);
  });
});
