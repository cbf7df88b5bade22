import { type AttentionWeights, cacheLayout, type KvlrErrorCode, stockLayout } from '@kvlr/core';
import { createTinyModel, expectClose, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { compressLayer } from './compress-by-name.ts';
import { compressionMethods } from './methods/methods.ts';
import { readAttentionWeights } from './source-layer.ts';
import { readSourceLayer } from './testing/compress-model.ts';

const pairs = [
  [0, 1],
  [2, 3],
];
const layer = await readSourceLayer(createTinyModel({ seed: 2, attentionBias: true }), 1);

describe('compressLayer', () => {
  it.each(Object.entries(compressionMethods.entries))('%s gives the sizes of its layout', (name, method) => {
    const { statistics, ...source } = layer;
    const request = { ...source, groups: pairs, method: name, ...(method.needsStatistics && { statistics }) };
    const { slots, keys, weights, queryOrder } = compressLayer(request);
    const { headDim, hiddenSize, numAttentionHeads, numKeyValueHeads } = layer.shape;
    const stock = stockLayout(2, headDim);
    expect(JSON.stringify(cacheLayout({ slots, keys })) === JSON.stringify(stock)).toBe(method.portable);
    expect(slots.keySlots * slots.keySlotWidth).toBe(2 * headDim);
    const valueSlots = method.valueSlots === 'head' ? numKeyValueHeads : 2;
    expect([slots.valueSlots, slots.valueSlots * slots.valueSlotWidth]).toEqual([valueSlots, 2 * headDim]);
    expect(queryOrder).toEqual([0, 1, 2, 3]);
    expect(weights.value.length).toBe(2 * headDim * hiddenSize);
    expect(weights.valueBias?.length).toBe(2 * headDim);
    expect(weights.output.length).toBe(hiddenSize * numAttentionHeads * slots.valueSlotWidth);
    expect(weights.outputBias?.length).toBe(hiddenSize);
    const latent = keys.kind === 'latent';
    expect(weights.key.length).toBe((latent ? numKeyValueHeads : 2) * headDim * hiddenSize);
    expect(weights.keyBias?.length).toBe((latent ? numKeyValueHeads : 2) * headDim);
    const lengths = Object.values(keys).map((part: string | Float64Array) => part.length);
    expect(lengths).toEqual(
      {
        stock: ['stock'.length],
        latent: [
          'latent'.length,
          2 * headDim * numKeyValueHeads * headDim,
          numAttentionHeads * slots.keySlotWidth * headDim,
        ],
        rebuilt: ['rebuilt'.length, numKeyValueHeads * headDim * slots.keySlotWidth],
      }[keys.kind],
    );
  });

  it('averages the heads of a group under mean-pool', () => {
    const { weights } = compressLayer({
      ...layer,
      groups: [
        [0, 2],
        [1, 3],
      ],
      method: 'mean-pool',
    });
    const size = layer.shape.headDim * layer.shape.hiddenSize;
    const mean = Array.from(
      { length: size },
      (_, index) => (layer.weights.key[index]! + layer.weights.key[2 * size + index]!) / 2,
    );
    expectClose(weights.key.subarray(0, size), mean, 1e-15);
  });

  it('leaves the output of the mean value as it is under centred values, in the biases', () => {
    const { shape, statistics } = layer;
    const { headDim, hiddenSize } = shape;
    /** Output of the block when every head attends to the value of the mean input; query head h reads slot floor(h slots / H). */
    const outputOfMean = ({ value, valueBias, output, outputBias }: AttentionWeights, slots: number) => {
      const { inputMean } = statistics!;
      const component = (row: number) =>
        valueBias![row]! + inputMean.reduce((sum, entry, i) => sum + value[row * hiddenSize + i]! * entry, 0);
      const width = shape.numAttentionHeads * headDim;
      return Array.from({ length: hiddenSize }, (_, row) => {
        let sum = outputBias![row]!;
        for (let column = 0; column < width; column++) {
          const slot = Math.floor((Math.floor(column / headDim) * slots) / shape.numAttentionHeads);
          sum += output[row * width + column]! * component(slot * headDim + (column % headDim));
        }
        return sum;
      });
    };
    const expected = outputOfMean(layer.weights, shape.numKeyValueHeads);
    const outputWith = (method: string) => outputOfMean(compressLayer({ ...layer, groups: pairs, method }).weights, 2);
    expectClose(Float64Array.from(outputWith('rope-exact-centred')), expected, 1e-9);
    const changed = outputWith('rope-exact-output').map((value, row) => Math.abs(value - expected[row]!));
    expect(Math.max(...changed)).toBeGreaterThan(1e-3);
  });

  it('fits values with their means where the model has no output bias', async () => {
    const plain = await readSourceLayer(createTinyModel({ seed: 2 }), 1);
    const weightsWith = (method: string) => compressLayer({ ...plain, groups: pairs, method }).weights;
    expect(weightsWith('rope-exact-centred').value).toEqual(weightsWith('rope-exact-output').value);
    expect(weightsWith('rope-exact-centred').outputBias).toBeUndefined();
  });

  it('gives the same weights each time', () => {
    const once = compressLayer({ ...layer, groups: pairs, method: 'rope-exact-output' });
    expect(compressLayer({ ...layer, groups: pairs, method: 'rope-exact-output' })).toEqual(once);
  });

  it('gives wide heads their sizes, and loses less in them', () => {
    const groups = [[0, 1, 2, 3]];
    const { headDim, hiddenSize, numAttentionHeads } = layer.shape;
    for (const headWidth of [1, 2, 4]) {
      const { slots, weights } = compressLayer({ ...layer, groups, method: 'rope-averaged', headWidth });
      const width = headWidth * headDim;
      expect(slots).toEqual({ keySlots: 1, keySlotWidth: width, valueSlots: 1, valueSlotWidth: width });
      expect([weights.key.length, weights.keyBias?.length]).toEqual([width * hiddenSize, width]);
      expect([weights.value.length, weights.valueBias?.length]).toEqual([width * hiddenSize, width]);
      expect(weights.query.length).toBe(numAttentionHeads * width * hiddenSize);
      expect(weights.queryBias?.length).toBe(numAttentionHeads * width);
      expect(weights.output.length).toBe(hiddenSize * numAttentionHeads * width);
    }
  });

  it('takes a method of the user', () => {
    const method = {
      ...compressionMethods.get('rope-exact'),
      values: compressionMethods.get('mean-pool').values,
    };
    const mixed = compressLayer({ ...layer, groups: pairs, method });
    expect(mixed.weights.key).toEqual(compressLayer({ ...layer, groups: pairs, method: 'rope-exact' }).weights.key);
    expect(mixed.weights.value).toEqual(compressLayer({ ...layer, groups: pairs, method: 'mean-pool' }).weights.value);
  });

  it('survives heads that are silent', () => {
    const silent = (weight: Float64Array) => weight.map((entry, index) => (index < weight.length / 4 ? 0 : entry));
    const weights = { ...layer.weights, key: silent(layer.weights.key), query: silent(layer.weights.query) };
    for (const method of ['svd-w', 'rope-exact-output']) {
      expect(compressLayer({ ...layer, weights, groups: pairs, method }).weights.key.every(Number.isFinite)).toBe(true);
    }
  });

  it.each<[string, Partial<Parameters<typeof compressLayer>[0]>, KvlrErrorCode]>([
    ['an unknown method', { method: 'svd-z' }, 'usage'],
    ['groups of unequal size', { groups: [[0, 1, 2], [3]] }, 'grouping-invalid'],
    [
      'a head in no group',
      {
        groups: [
          [0, 1],
          [2, 2],
        ],
      },
      'grouping-invalid',
    ],
    ['no groups', { groups: [] }, 'grouping-invalid'],
    ['wide heads of means', { method: 'mean-pool', headWidth: 2 }, 'invalid-argument'],
    ['wide heads of latent keys', { method: 'svd-a', headWidth: 2 }, 'invalid-argument'],
    ['heads wider than a group', { headWidth: 4 }, 'invalid-argument'],
    ['heads of a fraction of a width', { headWidth: 1.5 }, 'invalid-argument'],
    ['missing statistics', { statistics: undefined }, 'invalid-argument'],
    ['weights of another model', { weights: { ...layer.weights, key: new Float64Array(3) } }, 'tensor-shape'],
    [
      'statistics of another model',
      { statistics: { ...layer.statistics!, valueSecondMoment: new Float64Array(9) } },
      'tensor-shape',
    ],
    [
      'a weight that is infinite',
      {
        weights: { ...layer.weights, output: layer.weights.output.map(() => Number.POSITIVE_INFINITY) },
        method: 'mean-pool',
      },
      'numerical',
    ],
  ])('refuses %s', (_, change, code) => {
    const request = { ...layer, groups: pairs, method: 'rope-exact', ...change };
    expectKvlrError(() => compressLayer(request), code);
  });
});

describe('readAttentionWeights', () => {
  it('gives what compressLayer refuses, where a tensor does not fit the config', async () => {
    const model = createTinyModel();
    model.dense.set('model.layers.0.self_attn.k_proj.weight', { shape: [4, 24], data: new Float32Array(96) });
    const weights = await readAttentionWeights(model, 0);
    const request = { shape: model.shape, layer: 0, weights, groups: pairs, method: 'mean-pool' };
    const error = expectKvlrError(() => compressLayer(request), 'tensor-shape', 'expected 768 numbers, got 96');
    expect(error.where).toEqual({ layer: 0, argument: 'weights.key' });
  });
});
