import { applyCompression } from '@kvlr/checkpoint';
import type { CompressedLayer, ModelSource } from '@kvlr/core';
import {
  createTinyModel,
  differenceByRange,
  expectKvlrError,
  oracleLogits,
  oracleStatistics,
  randomTokenIds,
} from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { balanceKeyScales } from './key-scales.ts';
import { randomInputs, readSourceLayer } from './testing/compress-model.ts';

/** Every layer of a model with the scales of its keys balanced. */
async function balanced(model: ModelSource): Promise<CompressedLayer[]> {
  return Promise.all(
    model.shape.layers.map(async ({ cache }, layer): Promise<CompressedLayer> => {
      const source = await readSourceLayer(model, layer);
      const weights = balanceKeyScales({ ...source, statistics: source.statistics! });
      const queryOrder = Array.from({ length: model.shape.numAttentionHeads }, (_, head) => head);
      const groups = Array.from({ length: cache.keySlots }, (_, head) => [head]);
      return { layer, groups, queryOrder, slots: cache, keys: { kind: 'stock' }, weights };
    }),
  );
}

it.each([
  ['multi-head attention', { numAttentionHeads: 4, numKeyValueHeads: 4 }],
  ['grouped queries and biases', { numAttentionHeads: 8, numKeyValueHeads: 2, attentionBias: true }],
])('logits stay as they are: %s', async (_, settings) => {
  const model = createTinyModel(settings);
  const tokenIds = randomTokenIds(20, 50);
  const result = applyCompression(model, await balanced(model));
  expect(differenceByRange(await oracleLogits(result, tokenIds), await oracleLogits(model, tokenIds))).toBeLessThan(
    1e-5,
  );
});

it('queries and keys have energies of one ratio in every pair, and the scales of a head a geometric mean of 1', async () => {
  const model = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true });
  const { shape } = model;
  const { headDim, hiddenSize } = shape;
  const [first] = await balanced(model);
  const source = await readSourceLayer(model, 0);
  const inputs = randomInputs(64, hiddenSize, 100);
  const statistics = oracleStatistics(shape, 0, first!.weights, inputs);
  const width = 2 * headDim;
  for (const head of [0, 1]) {
    const pairs = Array.from({ length: headDim / 2 }, (_, j) => [j, j + headDim / 2]);
    const ratios = pairs.map((pair) => {
      const keys = pair.reduce((sum, j) => sum + statistics.keySecondMoment[(head * headDim + j) * (width + 1)]!, 0);
      const queries = [2 * head, 2 * head + 1].flatMap((query) =>
        pair.map((j) => statistics.querySecondMoment[(query * headDim + j) * headDim + j]!),
      );
      return queries.reduce((sum, energy) => sum + energy, 0) / keys;
    });
    for (const ratio of ratios) expect(ratio / ratios[0]!).toBeCloseTo(1, 6);
    const logarithms = pairs.flat().map((j) => {
      const row = (head * headDim + j) * hiddenSize;
      return Math.log(first!.weights.key[row]! / source.weights.key[row]!);
    });
    expect(logarithms.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 9);
    expect(Math.max(...logarithms)).toBeGreaterThan(0.01);
  }
});

it('norms between projection and positions are refused in words', async () => {
  const model = createTinyModel();
  const source = await readSourceLayer(model, 0);
  const norm = { kind: 'rms', epsilon: 1e-6, weight: true, bias: false, unitOffset: false, over: 'head' } as const;
  const shape = { ...source.shape, attention: { ...source.shape.attention, queryKeyNorm: norm } };
  expectKvlrError(
    () => balanceKeyScales({ ...source, shape, statistics: source.statistics! }),
    'unsupported-feature',
    'a norm behind it',
  );
});
