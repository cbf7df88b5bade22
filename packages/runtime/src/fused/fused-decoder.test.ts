import { kernelCounters, type WeightFormat } from '@kvlr/kernels';
import { createTinyModel, differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../decoder/load-model.ts';
import { dequantisedModel } from '../testing/dequantised-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';

const ids = randomTokenIds(12, 50);
const source = createTinyModel({ numAttentionHeads: 6, numKeyValueHeads: 2, attentionBias: true });
const formats: WeightFormat[] = ['f32', 'f16', 'int8', 'int4'];

/** Bytes that tfjs holds: on WebGPU all buffers of its pool, free ones included. */
function bytesHeld(): number {
  const { numBytes, numBytesAllocatedInGPU } = memory() as ReturnType<typeof memory> & {
    numBytesAllocatedInGPU?: number;
  };
  return numBytesAllocatedInGPU ?? numBytes;
}

describe.each(await testedBackends())('a packed model on $backend', ({ backend, skip }) => {
  // An emulated GPU takes seconds for the shaders of one format; f32 is tested with the stock decoder.
  const tested = backend === 'webgpu' ? (['int4'] as const) : formats;

  it.skipIf(skip).each(tested)(
    '%s: computes the logits of its own weights, in windows and token by token',
    async (format) => {
      const expected = await oracleLogits(dequantisedModel(source, format), ids);
      const model = await loadModel(source, { backend, weights: format });
      expect(model.weightFormat).toBe(format);
      expect(differenceByRange(await model.logits(ids), expected)).toBeLessThan(1e-4);
      const cache = await model.createCache(ids.length);
      await model.extend(cache, ids.subarray(0, 10));
      for (const place of [10, 11]) {
        const logits = await model.extend(cache, [ids[place]!]);
        const row = expected.subarray(place * 50, (place + 1) * 50);
        expect(differenceByRange(logits, row)).toBeLessThan(1e-4);
      }
      if (format === 'f16') {
        expect(differenceByRange(await model.logits(ids), await oracleLogits(source, ids))).toBeLessThan(2e-2);
      }
      cache.dispose();
      model.dispose();
    },
  );

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

  it.skipIf(skip)('holds the same tensors and bytes from token to token, and dispatches little', async () => {
    const small = createTinyModel({ numLayers: 1, numKeyValueHeads: 1, hiddenSize: 16, vocabSize: 20 });
    const model = await loadModel(small, { backend, weights: 'f32', cache: { window: 70, sinks: 2 } });
    // A thousand tokens; an emulated GPU is a hundred times slower.
    const maxNewTokens = backend === 'webgpu' ? 120 : 1000;
    let early: number[] = [];
    let dispatches = 0;
    for await (const { index } of model.generate([1, 2, 3], { maxNewTokens, tokensPerReadback: 10 })) {
      // By now the window has moved.
      if (index === 80) {
        early = [memory().numTensors, bytesHeld()];
        kernelCounters.reset();
      }
      if (index === 90) dispatches = kernelCounters.total().dispatches / 10;
      if (index === maxNewTokens - 10) expect([memory().numTensors, bytesHeld()]).toEqual(early);
    }
    // Embedding, one layer (attention in one part, in so short a context), logits, choice of the token.
    expect(dispatches).toBe(backend === 'webgpu' ? 1 + 6 + 1 + 1 : 0);
    model.dispose();
  });

  it.skipIf(skip)('leaves nothing behind when it is loaded and freed twenty times', async () => {
    const small = createTinyModel({ numLayers: 1, numKeyValueHeads: 1, hiddenSize: 16, vocabSize: 20 });
    const held: number[][] = [];
    for (let cycle = 0; cycle < 20; cycle++) {
      const model = await loadModel(small, { backend, weights: 'f32' });
      const cache = await model.createCache(8);
      await model.extend(cache, [1]);
      cache.dispose();
      model.dispose();
      held.push([memory().numTensors, bytesHeld()]);
    }
    expect(held[19]).toEqual(held[2]);
  });
});
