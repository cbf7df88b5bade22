import type { LayerActivations, ModelSource } from '@kvlr/core';
import {
  createTinyModel,
  differenceByRange,
  expectKvlrError,
  oracleLogits,
  randomTokenIds,
  type TinyModelSettings,
} from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { createRebuiltModel } from '../testing/rebuilt-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { loadModel } from './load-model.ts';

const settings: Record<string, TinyModelSettings> = {
  'multi-head attention': {},
  'grouped-query attention': { numAttentionHeads: 6, numKeyValueHeads: 2 },
  'one KV head': { numKeyValueHeads: 1 },
  'biases everywhere': { numKeyValueHeads: 2, attentionBias: true, mlpBias: true },
  'tied head': { tieWordEmbeddings: true },
  'llama3 RoPE': {
    rope: {
      type: 'llama3',
      theta: 500000,
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalMaxPositionEmbeddings: 32,
    },
  },
};

const models: [name: string, model: ModelSource][] = [
  ...Object.entries(settings).map(([name, tiny]): [string, ModelSource] => [name, createTinyModel(tiny)]),
  ['latent keys, one basis', createLatentModel(1)],
  ['latent keys, a basis per group', createLatentModel(2)],
  ['rebuilt keys, one slot', createRebuiltModel(1)],
  ['rebuilt keys, a slot per group', createRebuiltModel(2)],
];

describe.each(await testedBackends())('a decoder on $backend', ({ backend, skip }) => {
  const ids = randomTokenIds(12, 50);
  let tensorsBefore: number;
  beforeAll(async () => {
    if (skip) return;
    await selectBackend({ backend });
    tensorsBefore = memory().numTensors;
  });
  afterAll(() => {
    if (!skip) expect(memory().numTensors).toBe(tensorsBefore);
  });

  it.skipIf(skip).each(models)(
    `computes the oracle's logits: %s${skip ? ` (skipped: ${skip})` : ''}`,
    async (_, source) => {
      const model = await loadModel(source, { backend });
      const logits = await model.logits(ids);
      expect(differenceByRange(logits, await oracleLogits(source, ids))).toBeLessThan(1e-5);
      model.dispose();
    },
  );

  // Each new shape is a shader to compile, which SwiftShader does slowly: fewer models and steps there.
  const decoded = backend === 'webgpu' ? models.filter((_, place) => [2, 7, 9].includes(place)) : models;
  it.skipIf(skip).each(decoded)('decodes with a cache to the same logits: %s', async (_, source) => {
    const model = await loadModel(source, { backend });
    const cache = await model.createCache(ids.length + 3);
    let last = await model.extend(cache, ids.slice(0, 9));
    const held = memory().numTensors;
    for (const id of ids.slice(9)) last = await model.extend(cache, [id]);
    expect(memory().numTensors).toBe(held);
    const whole = await model.logits(ids);
    expect(differenceByRange(last, whole.slice(-model.vocabSize))).toBeLessThan(1e-5);
    cache.dispose();
    model.dispose();
  });

  it.skipIf(skip)('shows taps that belong together', async () => {
    const source = createTinyModel({ numAttentionHeads: 6, numKeyValueHeads: 2, attentionBias: true });
    const model = await loadModel(source, { backend });
    const seen: LayerActivations[] = [];
    const taps = ['stream', 'blockInput', 'query', 'key', 'value', 'attended', 'blockOutput'] as const;
    await model.forEachLayer(ids, taps, (activations) => {
      seen.push(activations);
    });
    expect(seen.map(({ layer }) => layer)).toEqual([0, 1]);
    for (const activations of seen) {
      const { layer } = activations;
      const product = (input: Float32Array, weight: 'keyWeight' | 'outputWeight', bias: 'keyBias' | 'outputBias') =>
        affineRows(input, source, source.tensorName(weight, layer), source.tensorName(bias, layer));
      expect(
        differenceByRange(activations.key!, product(activations.blockInput!, 'keyWeight', 'keyBias')),
      ).toBeLessThan(1e-5);
      const output = product(activations.attended!, 'outputWeight', 'outputBias');
      expect(differenceByRange(activations.blockOutput!, output)).toBeLessThan(1e-5);
    }
    const embedding = source.dense.get(source.tensorName('embedding'))!.data;
    const rows = Array.from(ids, (id) => [...embedding.slice(id * 24, (id + 1) * 24)]).flat();
    expect([...seen[0]!.stream!]).toEqual(rows);
    expect(seen.map(({ query, value }) => [query!.length, value!.length])).toEqual([
      [12 * 48, 12 * 16],
      [12 * 48, 12 * 16],
    ]);
    model.dispose();
  });

  it.skipIf(skip)('frees what it holds when a visitor throws', async () => {
    const model = await loadModel(createTinyModel(), { backend });
    const held = memory().numTensors;
    const visit = () => {
      throw new Error('enough');
    };
    await expect(model.forEachLayer(ids, ['key', 'value'], visit)).rejects.toThrow('enough');
    expect(memory().numTensors).toBe(held);
    model.dispose();
  });
});

describe('two models on different backends', () => {
  it('work side by side', async () => {
    const source = createTinyModel();
    const [first, second] = [await loadModel(source, { backend: 'wasm' }), await loadModel(source, { backend: 'cpu' })];
    const layers: number[] = [];
    const cache = await first.createCache(4);
    await first.forEachLayer(Int32Array.of(1, 2, 3), ['key'], async ({ layer, key }) => {
      await second.forEachLayer(Int32Array.of(1, 2, 3), ['key'], (other) => {
        if (other.layer === layer) expect(differenceByRange(key!, other.key!)).toBeLessThan(1e-5);
      });
      layers.push(layer);
    });
    expect(layers).toEqual([0, 1]);
    const last = await first.extend(cache, [1, 2, 3]);
    const whole = await second.logits(Int32Array.of(1, 2, 3));
    expect(differenceByRange(last, whole.slice(-50))).toBeLessThan(1e-5);
    cache.dispose();
    first.dispose();
    second.dispose();
  });
});

describe('a prompt that is run in parts', () => {
  it('has the logits of the whole', async () => {
    const tiny = createTinyModel({ numKeyValueHeads: 2 });
    const source = { ...tiny, shape: { ...tiny.shape, maxPositionEmbeddings: 300 } };
    const model = await loadModel(source, { backend: 'wasm' });
    const long = randomTokenIds(300, 50);
    const cache = await model.createCache(300);
    const last = await model.extend(cache, long);
    expect(cache.length).toBe(300);
    expect(differenceByRange(last, (await model.logits(long)).slice(-50))).toBeLessThan(1e-5);
    cache.dispose();
    model.dispose();
  });
});

describe('a text that does not fit the model', () => {
  it('is refused where it passes the last position', async () => {
    const model = await loadModel(createTinyModel(), { backend: 'cpu' });
    const positions = model.shape.maxPositionEmbeddings;
    const tooLong = randomTokenIds(positions + 1, 50);
    const beyond = new RegExp(`at most ${positions} tokens, got ${positions + 1}`);
    await expectKvlrError(() => model.logits(tooLong), 'invalid-argument', beyond);
    await expectKvlrError(() => model.forEachLayer(tooLong, [], () => {}), 'invalid-argument', beyond);
    const cache = await model.createCache();
    await model.extend(cache, tooLong.slice(0, positions));
    await expectKvlrError(() => model.extend(cache, [1]), 'invalid-argument', beyond);
    expect(cache.length).toBe(positions);
    cache.dispose();
    const windowed = await model.createCache({ window: 8 });
    await model.extend(windowed, tooLong);
    windowed.dispose();
    model.dispose();
  });

  it.each([null, undefined, 7, [[null]]])('is refused as %j', async (tokens) => {
    const model = await loadModel(createTinyModel(), { backend: 'cpu' });
    const cache = await model.createCache();
    await expectKvlrError(() => model.logits(tokens as never), 'invalid-argument', /token id/);
    await expectKvlrError(() => model.extend(cache, tokens as never), 'invalid-argument', /token id/);
    cache.dispose();
    model.dispose();
  });
});

/** Rows times a stored [out, in] matrix, plus bias, by plain loops. */
function affineRows(
  input: Float32Array,
  source: ReturnType<typeof createTinyModel>,
  weight: string,
  bias: string,
): Float64Array {
  const { shape, data } = source.dense.get(weight)!;
  const [outputs, inputs] = shape as [number, number];
  const offset = source.dense.get(bias)!.data;
  const rows = input.length / inputs;
  const result = new Float64Array(rows * outputs);
  for (let row = 0; row < rows; row++) {
    for (let out = 0; out < outputs; out++) {
      let sum = offset[out]!;
      for (let c = 0; c < inputs; c++) sum += input[row * inputs + c]! * data[out * inputs + c]!;
      result[row * outputs + out] = sum;
    }
  }
  return result;
}
