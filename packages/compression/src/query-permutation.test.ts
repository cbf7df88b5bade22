import { createPlantedModel, createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressionMethods } from './methods/compression-methods.ts';
import { compressModel } from './testing/compress-model.ts';

/** Any grouping folds into ordinary grouped-query attention: query heads are reordered with the columns of the output projection. */
const stock = Object.keys(compressionMethods).filter((name) => compressionMethods[name]!.layout === 'stock');
const tokenIds = randomTokenIds(20, 50);
const orders = [
  [[2], [0], [3], [1]],
  [[3], [2], [1], [0]],
];

describe.each([
  { numAttentionHeads: 4, attentionBias: true },
  { numAttentionHeads: 8, attentionBias: true },
  { numAttentionHeads: 12, attentionBias: false },
])('$numAttentionHeads query heads over 4 KV heads, biases: $attentionBias', (attention) => {
  const settings = { seed: 11, numKeyValueHeads: 4, ...attention };
  const model = createTinyModel(settings);
  const expected = oracleLogits(model, tokenIds);

  it.each(stock.flatMap((method) => orders.map((groups): [string, number[][]] => [method, groups])))(
    '%s leaves the logits as they are at full rank with the heads in the order %j',
    async (method, groups) => {
      const permuted = await compressModel(model, groups, method);
      expect(differenceByRange(await oracleLogits(permuted, tokenIds), await expected)).toBeLessThan(1e-4);
    },
  );

  it.each([
    [
      [
        [3, 1],
        [0, 2],
      ],
    ],
    [
      [
        [0, 3],
        [1, 2],
      ],
    ],
  ])('planted groups %j merge without loss, whatever their order', async (groups) => {
    const planted = createPlantedModel({ ...settings, groups });
    const merged = await compressModel(planted, groups, 'rope-averaged');
    const difference = differenceByRange(await oracleLogits(merged, tokenIds), await oracleLogits(planted, tokenIds));
    expect(difference).toBeLessThan(1e-4);
  });
});
