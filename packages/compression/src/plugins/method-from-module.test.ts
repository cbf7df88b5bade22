import { KvlrError } from '@kvlr/core';
import { createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressLayer } from '../compress-layer.ts';
import { compressionMethods } from '../methods/compression-methods.ts';
import type { CompressionMethod } from '../ports.ts';
import { compressModel, readSourceLayer } from '../testing/compress-model.ts';
import { methodFromModule } from './method-from-module.ts';

const label = './mine.mjs';
const valid = { title: 'Mine', keys: 'rope-exact', values: 'mean-pool' };
const pairs = [
  [0, 1],
  [2, 3],
];
const layer = await readSourceLayer(createTinyModel({ seed: 2, attentionBias: true }), 1);

function failureOf(work: () => unknown): KvlrError {
  try {
    work();
  } catch (error) {
    if (KvlrError.isInstance(error)) return error;
    throw error;
  }
  throw new Error('expected a failure');
}

describe('methodFromModule', () => {
  it('runs the example method loaded from its file: exact where each group is one head, lossy where it is two', async () => {
    const path = '../../../../examples/methods/strongest-head.mjs';
    const method = methodFromModule(await import(path), path);
    expect(method).toMatchObject({ title: 'Strongest head', layout: 'stock', needsStatistics: false, source: path });
    const model = createTinyModel({ seed: 5, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true });
    const tokenIds = randomTokenIds(12, 50);
    const expected = await oracleLogits(model, tokenIds);
    const differenceWith = async (groups: number[][]) =>
      differenceByRange(await oracleLogits(await compressModel(model, groups, method), tokenIds), expected);
    expect(await differenceWith([[0], [1], [2], [3]])).toBeLessThan(1e-6);
    expect(await differenceWith(pairs)).toBeGreaterThan(1e-2);
  });

  it('keeps the chosen head of each group as it is', async () => {
    const path = '../../../../examples/methods/strongest-head.mjs';
    const method = methodFromModule(await import(path), path);
    const { key } = compressLayer({ ...layer, groups: pairs, method }).weights;
    const size = layer.shape.headDim * layer.shape.hiddenSize;
    const head = (weight: Float64Array, index: number) => weight.slice(index * size, (index + 1) * size);
    const norm = (weight: Float64Array) => Math.hypot(...weight);
    pairs.forEach(([first, second], group) => {
      const [left, right] = [head(layer.weights.key, first!), head(layer.weights.key, second!)];
      expect(head(key, group)).toEqual(norm(left) >= norm(right) ? left : right);
    });
  });

  it('takes the parts of methods by their names', () => {
    const method = methodFromModule({ default: valid }, label);
    const { weights } = compressLayer({ ...layer, groups: pairs, method });
    expect(weights.key).toEqual(compressLayer({ ...layer, groups: pairs, method: 'rope-exact' }).weights.key);
    expect(weights.value).toEqual(compressLayer({ ...layer, groups: pairs, method: 'mean-pool' }).weights.value);
    const latent = methodFromModule({ default: { ...valid, keys: 'svd-a' } }, label);
    expect(latent.layout).toBe('latent');
    const narrow = methodFromModule({ default: { ...valid, values: 'clover' } }, label);
    expect(narrow).toMatchObject({ layout: 'latent', valueSlots: 'head' });
  });

  it.each(Object.entries(compressionMethods))('takes a whole method: %s', (_, method: CompressionMethod) => {
    const taken = methodFromModule({ default: method }, label);
    const { keys, values, ...described } = method;
    expect(taken).toMatchObject(described);
    const { statistics, ...source } = layer;
    const request = { ...source, groups: pairs, ...(method.needsStatistics && { statistics }) };
    expect(compressLayer({ ...request, method: taken })).toEqual(compressLayer({ ...request, method }));
  });

  it.each<[string, unknown, RegExp]>([
    ['no default export', {}, /default export .* got none/],
    ['no module', null, /default export/],
    ['a function', { default: () => [] }, /default export .* got function/],
    ['no title', { default: { ...valid, title: undefined } }, /title .* got none/],
    ['keys of an unknown name', { default: { ...valid, keys: 'svd-z' } }, /keys .* one of mean-pool, .* got "svd-z"/],
    ['no keys', { default: { ...valid, keys: undefined } }, /keys .* got none/],
    ['keys twice', { default: { ...valid, keyFactors: () => [] } }, /either keys or keyFactors/],
    ['values that are no function', { default: { ...valid, values: 7 } }, /values .* got number/],
    ['an unknown layout', { default: { ...valid, layout: 'mla' } }, /layout .* got "mla"/],
    ['needsStatistics in words', { default: { ...valid, needsStatistics: 'yes' } }, /needsStatistics .* got "yes"/],
  ])('refuses %s', (_, moduleNamespace, message) => {
    const error = failureOf(() => methodFromModule(moduleNamespace, label));
    expect(error.code).toBe('plugin-invalid');
    expect(error.message).toMatch(message);
    expect(error.message).toContain(label);
  });

  it('turns exceptions and factors of the wrong size into errors that name the module', () => {
    const run = (part: object) =>
      failureOf(() =>
        compressLayer({ ...layer, groups: pairs, method: methodFromModule({ default: { ...valid, ...part } }, label) }),
      );
    const failing = () => {
      throw new TypeError('statistics is undefined');
    };
    for (const part of [{ keys: failing }, { keys: undefined, keyFactors: failing }, { values: failing }]) {
      const error = run(part);
      expect(error.code).toBe('plugin-invalid');
      expect(error.message).toMatch(/\.\/mine\.mjs: .* failed in layer 1: statistics is undefined/);
      expect(error.cause).toBeInstanceOf(TypeError);
    }
    const small = { rows: 1, cols: 1, data: new Float64Array(1) };
    expect(run({ values: () => ({ encoder: small, decoders: [] }) }).message).toMatch(
      /values to give encoder as \{ rows: 8, cols: 16.* got \{ rows: 1, cols: 1, data: Float64Array\(1\) \}/,
    );
    expect(run({ values: () => undefined }).message).toMatch(/encoder .* got none/);
    const encoder = { rows: 8, cols: 16, data: new Float64Array(128) };
    expect(run({ values: () => ({ encoder, decoders: [] }) }).message).toMatch(/decoders\[0\] .* got none/);
  });
});
