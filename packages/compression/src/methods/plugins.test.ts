import { createTinyModel, differenceByRange, expectKvlrError, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressLayer } from '../compress-by-name.ts';
import { allowsWideHeads } from '../compress-layer.ts';
import type { CompressionMethod, KeyMethod, RopeStrategy, ValueMethod } from '../ports.ts';
import { compressModel, readSourceLayer } from '../testing/compress-model.ts';
import { combineMethod, type KeySide, resolveMethod } from './combine.ts';
import { phasorKeys } from './keys.ts';
import { compressionMethods } from './methods.ts';
import { keysFromPlugin, type MethodPlugin, methodFromPlugin, valuesFromPlugin } from './plugins.ts';

const module = './mine.mjs';
const valid: MethodPlugin = { title: 'Mine', keys: 'rope-exact', values: 'mean-pool' };
const pairs = [
  [0, 2],
  [1, 3],
];
const layer = await readSourceLayer(createTinyModel({ seed: 2, attentionBias: true }), 1);
const compress = (method: string | CompressionMethod) => compressLayer({ ...layer, groups: pairs, method });
const outputValues = compressionMethods.get('rope-exact-output');
const compressKeys = (side: KeySide) => compress(combineMethod(side, outputValues));

const example = async (path: string) => {
  const file = `../../../../examples/${path}`;
  return (await import(file)).default;
};

describe('the examples', async () => {
  const keyFactors: KeyMethod = await example('keys/strongest-pairs.mjs');
  const values: ValueMethod = await example('values/strongest-coordinates.mjs');
  const keys: RopeStrategy = await example('rope-strategies/strongest-coordinates.mjs');
  const whole: MethodPlugin = await example('methods/strongest-head.mjs');

  it.each<[string, CompressionMethod, boolean]>([
    ['a method', methodFromPlugin(whole, module), true],
    ['keys', combineMethod(keysFromPlugin({ keyFactors }, module), outputValues), true],
    ['values', combineMethod(outputValues, valuesFromPlugin({ values }, module)), true],
    ['a RoPE strategy', combineMethod(keysFromPlugin({ keys, portable: false }, module), outputValues), false],
  ])('%s: exact where each group is one head, lossy where heads share', async (_, method, portable) => {
    expect(method.portable).toBe(portable);
    const model = createTinyModel({ seed: 5, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true });
    const tokenIds = randomTokenIds(12, 50);
    const expected = await oracleLogits(model, tokenIds);
    const differenceWith = async (groups: number[][]) =>
      differenceByRange(await oracleLogits(await compressModel(model, groups, method), tokenIds), expected);
    expect(await differenceWith([[0], [2], [1], [3]])).toBeLessThan(1e-5);
    expect(await differenceWith(pairs)).toBeGreaterThan(1e-3);
  });

  it('strongest-head keeps the chosen head of each group as it is', () => {
    const method = methodFromPlugin(whole, module);
    expect(method).toMatchObject({ title: 'Strongest head', needsStatistics: false, source: module });
    const { key } = compress(method).weights;
    const size = layer.shape.headDim * layer.shape.hiddenSize;
    const head = (weight: Float64Array, index: number) => weight.slice(index * size, (index + 1) * size);
    const norm = (weight: Float64Array) => Math.hypot(...weight);
    pairs.forEach(([first, second], group) => {
      const [left, right] = [head(layer.weights.key, first!), head(layer.weights.key, second!)];
      expect(head(key, group)).toEqual(norm(left) >= norm(right) ? left : right);
    });
  });
});

describe('a plug-in', () => {
  it('takes the parts of methods by their names', () => {
    const { weights } = compress(methodFromPlugin(valid, module));
    expect(weights.key).toEqual(compress('rope-exact').weights.key);
    expect(weights.value).toEqual(compress('mean-pool').weights.value);
    expect(methodFromPlugin({ ...valid, keys: 'svd-a' }, module).portable).toBe(false);
    const narrow = methodFromPlugin({ ...valid, values: 'clover' }, module);
    expect(narrow).toMatchObject({ portable: false, valueSlots: 'head' });
  });

  it('has heads as wide as the methods that it names can fill, or as it says', () => {
    const allows = (plugin: MethodPlugin) => allowsWideHeads(methodFromPlugin(plugin, module));
    expect(allows({ title: 'Mine', keys: 'rope-averaged', values: 'svd-a' })).toBe(true);
    expect(allows({ title: 'Mine', keys: 'svd-a', values: 'rope-averaged' })).toBe(false);
    expect(allows({ title: 'Mine', keys: 'rope-averaged', values: 'clover' })).toBe(false);
    const keyFactors = phasorKeys({ moment: 'weights', field: 'complex', weights: 'equal' });
    const own = { title: 'Mine', keyFactors, values: 'svd-a' };
    expect(allows(own)).toBe(false);
    const method = methodFromPlugin({ ...own, wideHeads: { keys: true, values: true } }, module);
    const { slots } = compressLayer({ ...layer, groups: [[0, 1, 2, 3]], method, headWidth: 2 });
    expect([slots.keySlotWidth, slots.valueSlotWidth]).toEqual([16, 16]);
  });

  it.each(compressionMethods.names)('may be a whole method: %s', (name) => {
    const method = compressionMethods.get(name);
    const taken = methodFromPlugin(method, module);
    const { keys, values, ...described } = method;
    expect(taken).toMatchObject(described);
    const { statistics, ...source } = layer;
    const request = { ...source, groups: pairs, ...(method.needsStatistics && { statistics }) };
    expect(compressLayer({ ...request, method: taken })).toEqual(compressLayer({ ...request, method }));
  });

  it('of one side may be a whole method, whose side is taken', () => {
    const method = compressionMethods.get('rope-exact');
    expect(compressKeys(keysFromPlugin(method, module)).weights.key).toEqual(compress('rope-exact').weights.key);
    const values = combineMethod(outputValues, valuesFromPlugin(method, module));
    expect(compress(values).weights.value).toEqual(compress('rope-exact').weights.value);
  });

  it('says what it needs', () => {
    const values: ValueMethod = () => expect.unreachable();
    expect(valuesFromPlugin({ values }, module)).toMatchObject({ needsStatistics: true, title: module });
    const narrow = valuesFromPlugin({ values, needsStatistics: false, valueSlots: 'head' }, module);
    expect(narrow).toMatchObject({ needsStatistics: false, valueSlots: 'head' });
  });

  it.each<[string, Partial<MethodPlugin>]>([
    ['keys', { keys: 'svd-z' }],
    ['values', { values: 'svd-z' }],
  ])('is refused with %s of an unknown name', (argument, part) => {
    const work = () => methodFromPlugin({ ...valid, ...part }, module);
    const error = expectKvlrError(work, 'plugin-invalid', /one of mean-pool, .* got "svd-z"/);
    expect(error.where).toEqual({ module, argument });
  });
});

describe('errors of a plug-in in use name the module and the layer', () => {
  const where = { module, layer: 1 };
  const failing = () => {
    throw new TypeError('statistics is undefined');
  };

  it.each<[string, Partial<MethodPlugin>]>([
    ['keys', { keys: failing }],
    ['keyFactors', { keys: undefined, keyFactors: failing }],
    ['values', { values: failing }],
  ])('when its %s throw', (part, change) => {
    const work = () => compress(methodFromPlugin({ ...valid, ...change }, module));
    const error = expectKvlrError(work, 'plugin-invalid', `${part} failed: statistics is undefined`);
    expect(error.where).toEqual(where);
    expect(error.cause).toBeInstanceOf(TypeError);
  });

  const zeros = (rows: number, cols: number) => ({ rows, cols, data: new Float64Array(rows * cols) });
  it.each<[string, unknown, RegExp]>([
    ['nothing', undefined, /encoder .* got none/],
    [
      'a small encoder',
      { encoder: zeros(1, 1), decoders: [] },
      /values to give encoder as \{ rows: 8, cols: 16.* got \{ rows: 1, cols: 1, data: Float64Array\(1\) \}/,
    ],
    ['no decoders', { encoder: zeros(8, 16), decoders: [] }, /decoders\[0\] .* got none/],
    [
      'numbers that are not finite',
      { encoder: { ...zeros(8, 16), data: new Float64Array(128).fill(Number.NaN) }, decoders: [] },
      /encoder .* got numbers that are not finite/,
    ],
  ])('when its factors are %s', (_, factors, message) => {
    const method = methodFromPlugin({ ...valid, values: () => factors as ReturnType<ValueMethod> }, module);
    expect(expectKvlrError(() => compress(method), 'plugin-invalid', message).where).toEqual(where);
  });

  const good = compressionMethods.get('rope-exact').keys(layer, pairs);
  const latent = compressionMethods.get('svd-a').keys(layer, pairs);
  it.each<[string, object | undefined, RegExp]>([
    ['nothing', undefined, /kind, one of 'stock', 'latent', 'rebuilt', got none/],
    ['an unknown kind', { ...good, kind: 'mla' }, /kind, one of .* got "mla"/],
    ['no slots', { ...good, keySlots: undefined }, /keySlots, a whole number, got undefined/],
    ['a short query', { ...good, query: good.query.slice(1) }, /query as Float64Array\(768\), got Float64Array\(767\)/],
    ['float32 keys', { ...good, key: Float32Array.from(good.key) }, /key as Float64Array\(384\), got object/],
    ['no bias', { ...good, keyBias: undefined }, /keyBias as Float64Array\(16\), got none/],
    ['other slots', { ...good, keySlots: 1, keySlotWidth: 16 }, /2 slots of 8 .* got 1 of 16/],
    ['no encoder', { ...latent, encoder: undefined }, /encoder as Float64Array\(512\), got none/],
    ['a kind that is not portable', latent, /stock keys, .* portable, got latent keys/],
  ])('when its keys are %s', (_, keys, message) => {
    const side = keysFromPlugin({ keys: () => keys as ReturnType<RopeStrategy> }, module);
    expect(expectKvlrError(() => compressKeys(side), 'plugin-invalid', message).where).toEqual(where);
  });

  it('when it brings a bias that the model has not', async () => {
    const plain = await readSourceLayer(createTinyModel({ seed: 2 }), 0);
    const keys: RopeStrategy = (...given) => ({
      ...compressionMethods.get('rope-exact').keys(...given),
      keyBias: new Float64Array(16),
    });
    const method = combineMethod(keysFromPlugin({ keys }, module), outputValues);
    const work = () => compressLayer({ ...plain, groups: pairs, method });
    expectKvlrError(work, 'plugin-invalid', /no keyBias, as the model has none, got Float64Array\(16\)/);
  });
});

describe('a pair of names', () => {
  it.each([
    ['rope-averaged', 'svd-w'],
    ['palu', 'mean-pool'],
    ['rope-exact', 'clover'],
  ])('takes the keys of %s and the values of %s', (keys, values) => {
    const compressed = compress(resolveMethod({ keys, values }));
    const [keySource, valueSource] = [compress(keys), compress(values)];
    expect(compressed.weights.key).toEqual(keySource.weights.key);
    expect(compressed.weights.query).toEqual(keySource.weights.query);
    expect(compressed.weights.value).toEqual(valueSource.weights.value);
    expect(compressed.weights.output).toEqual(valueSource.weights.output);
    expect(compressed.keys).toEqual(keySource.keys);
    expect(compressed.slots.valueSlots).toBe(valueSource.slots.valueSlots);
  });

  it('is portable where both sides are', () => {
    expect(resolveMethod({ keys: 'rope-exact', values: 'clover' }).portable).toBe(false);
    expect(resolveMethod({ ropeStrategy: 'svd-a', values: 'mean-pool' })).toMatchObject({
      portable: false,
      title: 'Keys: SVD-a per layer; values: Mean-pool',
      needsStatistics: true,
    });
    expectKvlrError(() => resolveMethod({ keys: 'svd-z', values: 'mean-pool' }), 'usage');
  });
});
