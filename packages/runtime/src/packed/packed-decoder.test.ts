import { kernelCounters, type WeightFormat } from '@kvlr/kernels';
import { createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { loadModel } from '../decoder/load-model.ts';
import { countDeviceBytes } from '../testing/count-device-bytes.ts';
import { dequantisedModel } from '../testing/dequantised-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';

const ids = randomTokenIds(24, 50);
const source = createTinyModel({ numAttentionHeads: 6, numKeyValueHeads: 2, attentionBias: true });
const formats: WeightFormat[] = ['f32', 'f16', 'int8', 'int4'];

/** As small as a decoder can be, since an emulated GPU takes milliseconds for every dispatch. */
const smallest = createTinyModel({
  ...{ numLayers: 1, hiddenSize: 8, intermediateSize: 8, vocabSize: 20 },
  ...{ numAttentionHeads: 2, numKeyValueHeads: 1, headDim: 4 },
});

describe.each(await testedBackends())('a packed model on $backend', ({ backend, skip }) => {
  // An emulated GPU takes seconds for the shaders of one format.
  const tested = backend === 'webgpu' ? (['int4'] as const) : formats;

  it.skipIf(skip).each(tested)('%s: computes the logits of its own weights, in windows', async (format) => {
    const model = await loadModel(source, { backend, weights: format });
    expect(model.weightFormat).toBe(format);
    const expected = await oracleLogits(dequantisedModel(source, format), ids);
    expect(differenceByRange(await model.logits(ids), expected)).toBeLessThan(1e-4);
    model.dispose();
  });

  it.skipIf(skip)('shows the activations that the stock decoder shows', async () => {
    const [packed, stock] = [
      await loadModel(source, { backend, weights: 'f32' }),
      await loadModel(source, { backend }),
    ];
    const taps = ['stream', 'blockInput', 'query', 'key', 'value', 'attended', 'blockOutput'] as const;
    const seen: Float32Array[] = [];
    await packed.forEachLayer(ids, taps, (activations) => {
      for (const tap of taps) seen.push(activations[tap]!);
    });
    await stock.forEachLayer(ids, taps, (activations) => {
      for (const tap of taps) expect(differenceByRange(seen.shift()!, activations[tap]!)).toBeLessThan(1e-5);
    });
    expect(seen).toEqual([]);
    packed.dispose();
    stock.dispose();
  });

  it.skipIf(skip)('holds the same tensors and bytes over a thousand tokens, and dispatches little', async () => {
    // Behind a window that soon moves, for there are more tokens than positions.
    const model = await loadModel(smallest, { backend, weights: 'f32', cache: { window: 20, sinks: 2 } });
    const bytesHeld = countDeviceBytes();
    const held: number[][] = [];
    const settings = { maxNewTokens: 1000, tokensPerReadback: 10 };
    for await (const { index } of model.generate([1, 2, 3], settings)) {
      if (index % 100 === 99) held.push([memory().numTensors, bytesHeld()]);
      if (index === 889) kernelCounters.reset();
    }
    expect(held).toHaveLength(10);
    expect(held[0]![1]).toBeGreaterThan(0);
    for (const later of held.slice(1)) expect(later).toEqual(held[0]);
    // One layer (attention in one part, in so short a cache), logits, choice of the token with the embedding of it. When a lot is
    // read, the next one is under way.
    const dispatches = kernelCounters.total().dispatches / 100;
    expect(dispatches).toBe(backend === 'webgpu' ? 5 + 1 + 1 : 0);
    model.dispose();
  });

  it.skipIf(skip)('leaves nothing behind when it is loaded and freed twenty times', async () => {
    await selectBackend({ backend });
    const bytesHeld = countDeviceBytes();
    const held: number[][] = [];
    for (let cycle = 0; cycle < 20; cycle++) {
      const model = await loadModel(smallest, { backend, weights: 'f32' });
      const cache = await model.createCache(8);
      await model.extend(cache, [1]);
      cache.dispose();
      model.dispose();
      held.push([memory().numTensors, bytesHeld()]);
    }
    for (const later of held.slice(2)) expect(later).toEqual(held[2]);
  });
});

describe.each(await testedBackends())('windows behind a coded cache on $backend', ({ backend, skip }) => {
  // An emulated GPU takes seconds for the shaders of one format.
  const tested = backend === 'webgpu' ? (['int8'] as const) : (['f16', 'int8', 'int4'] as const);
  // How far coding alone moves the logits, at least: what is compared is not the f32 model twice.
  const moved = { f16: 1e-6, int8: 1e-4, int4: 1e-3 } as const;

  it.skipIf(skip).each(tested)('%s: are what decoding token by token gives', async (dtype) => {
    const exact = await loadModel(source, { backend, weights: 'f32' });
    const coded = await loadModel(source, { backend, weights: 'f32', cache: { dtype } });
    const window = await coded.logits(ids);
    const cache = await coded.createCache(ids.length);
    expect(cache.dtype).toBe(dtype);
    const decoded: number[] = [];
    for (const id of ids) decoded.push(...(await coded.extend(cache, [id])));
    expect(differenceByRange(window, decoded)).toBeLessThan(1e-5);
    expect(differenceByRange(window, await exact.logits(ids))).toBeGreaterThan(moved[dtype]);
    cache.dispose();
    coded.dispose();
    exact.dispose();
  });
});

it.each([{}, { window: 20 }, { capacity: 2 }, { dtype: 'int8', batch: 2 }] as const)(
  'runs every kind of step once and leaves the weights alone: caches of %o',
  async (cache) => {
    const steps: string[] = [];
    const plain = await loadModel(createTinyModel(), { backend: 'wasm', weights: 'f32', cache });
    const held = memory().numTensors;
    const model = await loadModel(createTinyModel(), {
      backend: 'wasm',
      weights: 'f32',
      cache,
      warmUp: true,
      onProgress: ({ completed, total, unit }) => steps.push(`${completed}/${total} ${unit}`),
    });
    expect(memory().numTensors).toBe(2 * held);
    expect(steps.slice(0, 3)).toEqual(['1/3 layers', '2/3 layers', '3/3 layers']);
    expect(steps.at(-1)).toBe('3/3 pipelines');
    plain.dispose();
    model.dispose();
  },
);
