import { cacheWidth, type ModelSource, type RopeParameters } from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import { createPlantedModel, createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../../runtime/src/testing/tested-backends.ts';
import { allowsWideHeads } from './compress-layer.ts';
import { compressionMethods } from './methods/methods.ts';
import { compressModel } from './testing/compress-model.ts';

/** Largest difference of the logits allowed, as a share of their range; the compressed weights are float32. */
const tolerance = 1e-4;

const singles = [[0], [1], [2], [3]];
const plantings = [
  {
    name: 't = 2',
    groups: [
      [0, 1],
      [2, 3],
    ],
  },
  { name: 't = 4', groups: [[0, 1, 2, 3]] },
  {
    name: 't = 2, heads apart',
    groups: [
      [0, 3],
      [2, 1],
    ],
  },
];
const attentions = [
  { name: 'multi-head', numAttentionHeads: 4 },
  { name: 'grouped-query', numAttentionHeads: 8 },
];
/** Their means want no stretch, or their heads keep less than a head each, so that a merge cannot be seen. */
const lossyMethods = ['mean-pool', 'align-then-merge', 'kq-svd', 'clover', 'rope-exact-real'];

describe.each(attentions)('$name attention with biases', ({ numAttentionHeads }) => {
  const settings = { seed: 5, numAttentionHeads, numKeyValueHeads: 4, attentionBias: true };
  const tokenIds = randomTokenIds(20, 50);

  describe('as many KV heads as before reproduces the logits (and latent keys at full rank are exact)', async () => {
    const model = createTinyModel(settings);
    const expected = await oracleLogits(model, tokenIds);
    it.each(compressionMethods.names)('%s', async (method) => {
      const compressed = await compressModel(model, singles, method);
      expect(cacheWidth(compressed.shape.layers[0]!.cache)).toBe(cacheWidth(model.shape.layers[0]!.cache));
      expect(differenceByRange(await oracleLogits(compressed, tokenIds), expected)).toBeLessThan(tolerance);
    });
  });

  describe.each(plantings)('a planted merge at $name', async ({ groups }) => {
    const model = createPlantedModel({ ...settings, groups });
    const expected = await oracleLogits(model, tokenIds);
    const differenceOf = async (method: string) =>
      differenceByRange(await oracleLogits(await compressModel(model, groups, method), tokenIds), expected);

    const exactMethods = compressionMethods.names.filter((method) => !lossyMethods.includes(method));
    it.each(exactMethods)('is found without loss by %s', async (method) => {
      expect(await differenceOf(method)).toBeLessThan(tolerance);
    });

    it.each(lossyMethods)('is out of reach of %s', async (method) => {
      expect(await differenceOf(method)).toBeGreaterThan(100 * tolerance);
    });
  });
});

/** Any grouping folds into ordinary grouped-query attention: query heads are reordered with the columns of the output projection. */
const portable = compressionMethods.names.filter((name) => compressionMethods.get(name).portable);
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
  const tokenIds = randomTokenIds(20, 50);
  const expected = oracleLogits(model, tokenIds);

  it.each(portable.flatMap((method) => orders.map((groups): [string, number[][]] => [method, groups])))(
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

const allowingWide = compressionMethods.names.filter((name) => allowsWideHeads(compressionMethods.get(name)));

describe('wide heads', () => {
  const settings = { seed: 5, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true };
  const tokenIds = randomTokenIds(20, 50);
  const pairs = [
    [0, 3],
    [2, 1],
  ];
  const all = [[2, 0, 1, 3]];

  it('are what complex factors and subspaces of any rank can fill', () => {
    expect(allowingWide).toEqual([
      'svd-w',
      ...['rope-exact-real', 'rope-exact', 'rope-exact-weighted', 'rope-exact-output', 'rope-exact-centred'],
      ...['rope-averaged', 'rope-averaged-received', 'rope-averaged-attended'],
    ]);
  });

  describe('as wide as a group lose nothing', async () => {
    const rope: RopeParameters = {
      ...({ type: 'llama3', theta: 10000, factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4 } as const),
      originalMaxPositionEmbeddings: 32,
    };
    const models = [createTinyModel(settings), createTinyModel({ ...settings, attentionBias: false, rope })];
    const expected = await Promise.all(models.map((model) => oracleLogits(model, tokenIds)));
    const cases = allowingWide.flatMap((method) => [pairs, all].map((groups) => ({ method, groups })));
    it.each(cases)('$method, groups $groups', async ({ method, groups }) => {
      for (const [place, model] of models.entries()) {
        const wide = await compressModel(model, groups, method, groups[0]!.length);
        expect(wide.shape).toMatchObject({ numKeyValueHeads: groups.length, headDim: 32 / groups.length });
        expect(cacheWidth(wide.shape.layers[0]!.cache)).toBe(cacheWidth(model.shape.layers[0]!.cache));
        expect(differenceByRange(await oracleLogits(wide, tokenIds), expected[place]!)).toBeLessThan(tolerance);
      }
    });
  });

  describe('hold a planted merge of four heads to two', async () => {
    const model = createPlantedModel({ ...settings, groups: all, rank: 2 });
    const expected = await oracleLogits(model, tokenIds);
    const differenceOf = async (method: string, headWidth: number) =>
      differenceByRange(await oracleLogits(await compressModel(model, all, method, headWidth), tokenIds), expected);

    it.each(allowingWide.filter((method) => method !== 'rope-exact-real'))('by %s', async (method) => {
      expect(await differenceOf(method, 2)).toBeLessThan(tolerance);
      expect(await differenceOf(method, 1)).toBeGreaterThan(100 * tolerance);
    });
  });
});

describe.each(await testedBackends())('in float32 on $backend', ({ backend, skip }) => {
  const reason = skip ? ` (skipped: ${skip})` : '';
  const settings = { seed: 5, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true };
  const tokenIds = randomTokenIds(20, 50);
  const logitsOf = async (source: ModelSource) => {
    const model = await loadModel(source, { backend });
    const logits = await model.logits(tokenIds);
    model.dispose();
    return logits;
  };
  const unplanted = createTinyModel(settings);
  const planted = plantings.map(({ name, groups }) => ({
    name,
    groups,
    model: createPlantedModel({ ...settings, groups }),
  }));
  const differenceOf = async (model: ModelSource, groups: number[][], method: string) =>
    differenceByRange(await logitsOf(await compressModel(model, groups, method)), await logitsOf(model));

  it.skipIf(skip).each([
    ['rope-exact-output', 2],
    ['rope-averaged', 4],
  ])(`wide heads that lose nothing: %s, %d heads wide${reason}`, async (method, headWidth) => {
    const groups = headWidth === 4 ? [[0, 1, 2, 3]] : plantings[0]!.groups;
    const wide = await compressModel(unplanted, groups, method, headWidth);
    expect(differenceByRange(await logitsOf(wide), await logitsOf(unplanted))).toBeLessThan(tolerance);
  });

  it.skipIf(skip).each([
    ['as many KV heads as before', 'rope-exact-output'],
    ['as many KV heads as before', 'rope-averaged'],
    ['latent keys at full rank, one basis per layer', 'svd-a'],
    ['latent keys at full rank, one basis per group', 'svd-a-grouped-metric'],
    ['latent keys at full rank, one basis per head', 'kq-svd'],
    ['keys rebuilt at full rank', 'palu'],
  ])(`%s: %s is exact${reason}`, async (_, method) => {
    expect(await differenceOf(unplanted, singles, method)).toBeLessThan(tolerance);
  });

  it
    .skipIf(skip)
    .each(
      planted.flatMap(({ name, groups, model }) =>
        ['rope-exact-output', 'svd-a', 'palu'].map((method): [string, string, typeof model, number[][]] => [
          name,
          method,
          model,
          groups,
        ]),
      ),
    )(`a planted merge at %s: %s is exact${reason}`, async (_, method, model, groups) => {
    expect(await differenceOf(model, groups, method)).toBeLessThan(tolerance);
  });
});
