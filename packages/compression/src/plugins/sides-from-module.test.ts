import { KvlrError } from '@kvlr/core';
import { createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressLayer } from '../compress-layer.ts';
import { compressionMethods, resolveMethod } from '../methods/compression-methods.ts';
import { compressModel, readSourceLayer } from '../testing/compress-model.ts';
import { combineMethod, type KeySide, type ValueSide } from './combine-method.ts';
import { keyMethodFromModule, ropeStrategyFromModule, valueMethodFromModule } from './sides-from-module.ts';

const label = './mine.mjs';
const pairs = [
  [0, 2],
  [1, 3],
];
const layer = await readSourceLayer(createTinyModel({ seed: 2, attentionBias: true }), 1);
const example = (path: string) => {
  const file = `../../../../examples/${path}`;
  return import(file);
};

function failureOf(work: () => unknown): KvlrError {
  try {
    work();
  } catch (error) {
    if (KvlrError.isInstance(error)) return error;
    throw error;
  }
  throw new Error('expected a failure');
}

const outputValues = compressionMethods['rope-exact-output']!;
const compressKeys = (side: KeySide) =>
  compressLayer({ ...layer, groups: pairs, method: combineMethod(side, outputValues) });
const compressValues = (side: ValueSide) =>
  compressLayer({ ...layer, groups: pairs, method: combineMethod(outputValues, side) });

describe('the examples', () => {
  const examples = [
    ['keys/strongest-pairs.mjs', keyMethodFromModule, 'stock'],
    ['values/strongest-coordinates.mjs', valueMethodFromModule, 'stock'],
    ['rope-strategies/strongest-coordinates.mjs', ropeStrategyFromModule, 'latent'],
  ] as const;

  it.each(examples)(
    '%s is exact where nothing is left out, and lossy where heads share',
    async (path, take, layout) => {
      const side = take(await example(path), path) as KeySide & ValueSide;
      const method = 'keys' in side ? combineMethod(side, outputValues) : combineMethod(outputValues, side);
      expect(method.layout).toBe(layout);
      const model = createTinyModel({ seed: 5, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true });
      const tokenIds = randomTokenIds(12, 50);
      const expected = await oracleLogits(model, tokenIds);
      const differenceWith = async (groups: number[][]) =>
        differenceByRange(await oracleLogits(await compressModel(model, groups, method), tokenIds), expected);
      expect(await differenceWith([[0], [2], [1], [3]])).toBeLessThan(1e-5);
      expect(await differenceWith(pairs)).toBeGreaterThan(1e-3);
    },
  );
});

describe('a pair of names', () => {
  it('takes the keys of one method and the values of another, whatever the layout', () => {
    for (const [keys, values] of [
      ['rope-averaged', 'svd-w'],
      ['palu', 'mean-pool'],
      ['rope-exact', 'clover'],
    ] as const) {
      const compressed = compressLayer({ ...layer, groups: pairs, method: resolveMethod({ keys, values }) });
      const [keySource, valueSource] = [keys, values].map((method) =>
        compressLayer({ ...layer, groups: pairs, method }),
      );
      expect(compressed.weights.key).toEqual(keySource!.weights.key);
      expect(compressed.weights.query).toEqual(keySource!.weights.query);
      expect(compressed.weights.value).toEqual(valueSource!.weights.value);
      expect(compressed.weights.output).toEqual(valueSource!.weights.output);
      expect(compressed.layout.keys).toBe(keySource!.layout.keys);
      expect(compressed.layout.valueSlots).toBe(valueSource!.layout.valueSlots);
    }
    expect(resolveMethod({ keys: 'rope-exact', values: 'clover' }).layout).toBe('latent');
    expect(resolveMethod({ ropeStrategy: 'svd-a', values: 'mean-pool' })).toMatchObject({
      layout: 'latent',
      title: 'Keys: SVD-a per layer; values: Mean-pool',
      needsStatistics: true,
    });
    expect(() => resolveMethod({ keys: 'svd-z', values: 'mean-pool' })).toThrow(
      expect.objectContaining({ code: 'usage' }),
    );
  });
});

describe('modules of one side', () => {
  it('may export a whole method, whose side is taken', () => {
    const namespace = { default: compressionMethods['rope-exact'] };
    for (const take of [keyMethodFromModule, ropeStrategyFromModule]) {
      const { weights } = compressKeys(take(namespace, label));
      expect(weights.key).toEqual(compressLayer({ ...layer, groups: pairs, method: 'rope-exact' }).weights.key);
    }
    const { weights } = compressValues(valueMethodFromModule(namespace, label));
    expect(weights.value).toEqual(compressLayer({ ...layer, groups: pairs, method: 'rope-exact' }).weights.value);
  });

  it('say what else they need beside the function', () => {
    const work = () => ({ encoder: undefined, decoders: [] });
    expect(keyMethodFromModule({ default: work }, label)).toMatchObject({ needsStatistics: true, layout: 'stock' });
    const narrow = { default: work, needsStatistics: false, valueSlots: 'head' };
    expect(valueMethodFromModule(narrow, label)).toMatchObject({ needsStatistics: false, valueSlots: 'head' });
  });

  it.each<[string, () => unknown, RegExp]>([
    ['no export', () => keyMethodFromModule({}, label), /key method \(a function\) .* got none/],
    ['a number', () => valueMethodFromModule({ default: 3 }, label), /value method .* got number/],
    ['words', () => ropeStrategyFromModule({ default: 'mla' }, label), /RoPE strategy .* got string/],
    ['a layout', () => ropeStrategyFromModule({ default: () => 0, layout: 'mla' }, label), /layout .* got "mla"/],
    ['slots', () => valueMethodFromModule({ default: () => 0, valueSlots: 2 }, label), /valueSlots .* got 2/],
    [
      'a need',
      () => keyMethodFromModule({ default: () => 0, needsStatistics: 'no' }, label),
      /needsStatistics .* "no"/,
    ],
  ])('are refused with %s', (_, work, message) => {
    const error = failureOf(work);
    expect(error).toMatchObject({ code: 'plugin-invalid', data: { module: label } });
    expect(error.message).toMatch(message);
    expect(error.hint).toContain('export');
  });

  const { query, queryBias, key, keyBias, ...rest } = compressionMethods['rope-exact']!.keys(layer, pairs);
  const good = { query, queryBias, key, keyBias, ...rest };
  const { latentKeys } = compressionMethods['svd-a']!.keys(layer, pairs);
  it.each<[string, object | undefined, RegExp]>([
    ['nothing', undefined, /keySlots, a whole number, got undefined/],
    ['a short query', { ...good, query: query.slice(1) }, /query as Float64Array\(768\), got Float64Array\(767\)/],
    ['float32 keys', { ...good, key: Float32Array.from(key) }, /key as Float64Array\(384\), got object/],
    ['no bias', { ...good, keyBias: undefined }, /keyBias as Float64Array\(16\), got none/],
    ['other slots', { ...good, keySlots: 1, keySlotWidth: 16 }, /2 slots of 8 .* got 1 of 16/],
    [
      'another layout',
      { ...good, key: layer.weights.key, keyBias: layer.weights.keyBias, keySlots: 1, keySlotWidth: 16, latentKeys },
      /layout 'stock', as the module says, got latent/,
    ],
  ])('are refused when their keys come with %s', (_, keys, message) => {
    const error = failureOf(() => compressKeys(ropeStrategyFromModule({ default: () => keys }, label)));
    expect(error).toMatchObject({ code: 'plugin-invalid', data: { module: label, layer: 1 } });
    expect(error.message).toMatch(message);
  });

  it('refuse a bias that the model has not', async () => {
    const plain = await readSourceLayer(createTinyModel({ seed: 2 }), 0);
    const method = combineMethod(
      ropeStrategyFromModule(
        { default: () => ({ ...compressionMethods['rope-exact']!.keys(plain, pairs), keyBias: new Float64Array(16) }) },
        label,
      ),
      outputValues,
    );
    const error = failureOf(() => compressLayer({ ...plain, groups: pairs, method }));
    expect(error.message).toMatch(/no keyBias, as the model has none, got Float64Array\(16\)/);
  });
});
