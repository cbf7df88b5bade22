import { cacheBytes } from '@kvlr/core';
import { weightFormats } from '@kvlr/kernels';
import { loadModel, selectBackend } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { createTinyModel, softwareGpuSettings, useSoftwareGpu } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { benchmarkDecoders } from './benchmark-decoders.ts';
import { decodeBytes, weightBytes } from './formulas.ts';
import { fillCache } from './random-cache.ts';
import { createRandomModel, withKeyValueHeads } from './random-model.ts';

const softwareGpuProblem = useSoftwareGpu();
const { webgpuProblem = softwareGpuProblem } = await prepareNodeRuntime({ dawn: softwareGpuSettings });

const tiny = createTinyModel({ numAttentionHeads: 4, headDim: 8 });
const half = createRandomModel(withKeyValueHeads(tiny.shape, 2));
const base = { name: 'tiny', source: tiny };
const other = { name: 'half', source: half, randomWeights: true };
const settings = { title: 'Test', base, contexts: [16, 40], promptTokens: 12, tokens: 3, rounds: 2 } as const;

describe.each(['cpu', 'wasm'] as const)('benchmarkDecoders on %s', (backend) => {
  it.each(['f32', 'int8'] as const)('counts what the formulas say: weights and cache %s', async (dtype) => {
    const report = await benchmarkDecoders({
      ...settings,
      others: [other],
      batches: [1, 2],
      weights: dtype,
      cacheDtype: dtype,
      backend,
    });
    expect(report.decodes).toHaveLength(2 * 2 * 2);
    for (const row of report.decodes) {
      const { shape, weightBytes: onDevice } = report.models.find(({ name }) => name === row.model)!;
      const { context, batch } = row;
      expect(row.cacheBytes).toBe(cacheBytes(shape, { dtype, capacity: context, batch }));
      expect(row.deviceBytes).toBe(onDevice + row.cacheBytes);
      expect(row.bytesReadPerStep).toBe(
        decodeBytes(shape, { weights: dtype, cache: dtype, context: context + 1, batch }),
      );
      expect(row.dispatchesPerStep).toBeUndefined();
      // A base's times are those of every pair.
      expect(row.step.samples).toBe(2 * 3);
      expect(row.speedup?.rounds).toBe(row.model === 'half' ? 2 : undefined);
    }
    expect(report.prefills.map(({ promptTokens, firstToken }) => [promptTokens, firstToken.samples])).toEqual(
      Array(4).fill([12, 2]),
    );
    expect(report.environment.backend).toContain(backend);
  });
});

describe('benchmarkDecoders', () => {
  // An emulated GPU takes seconds to build each shader: one layer, one length.
  it.skipIf(webgpuProblem)('counts bytes and dispatches on WebGPU', async () => {
    const source = createTinyModel({ numLayers: 1 });
    const report = await benchmarkDecoders({
      ...{ title: 'Test', contexts: [16], promptTokens: 1, tokens: 1, rounds: 1, cacheDtype: 'f16', backend: 'webgpu' },
      base: { name: 'tiny', source },
    });
    const [row] = report.decodes;
    expect(row!.bytesReadPerStep).toBe(decodeBytes(source.shape, { weights: 'f32', cache: 'f16', context: 17 }));
    // Embedding and logits, and 5 for the layer.
    expect(row!.dispatchesPerStep).toBe(2 + 5);
    // A software adapter has timestamps, too.
    expect(row!.recorded!.host).toBeGreaterThan(0);
    expect(row!.recorded!.device).toBeGreaterThan(0);
    expect(report.heldBytes).toBeGreaterThan(row!.deviceBytes);
    expect(report.notes.join()).toContain('The backend held at most');
  });

  it('times each model at the largest batch that fits', async () => {
    const request = { ...settings, contexts: [16], others: [other], backend: 'cpu', timeLargestBatch: true } as const;
    const { largestBatches } = await benchmarkDecoders({ ...request, memoryBytes: 2 ** 18 });
    const [whole, halved] = largestBatches!.rows;
    expect(whole!.batch).toBeGreaterThan(1);
    expect(halved!.batch).toBeGreaterThan(whole!.batch);
    for (const { batch, step, tokensPerSecond } of [whole!, halved!]) {
      expect(step!.samples).toBe(2 * 3);
      expect(tokensPerSecond).toBeCloseTo((1000 * batch) / step!.p50, 6);
    }
    expect([whole!.speedup, halved!.speedup?.rounds]).toEqual([undefined, 2]);
  });

  it.each([
    [{ contexts: [16] }, 'expected memoryBytes'],
    [{ contexts: [4], memoryBytes: 2 ** 20 }, 'expected contexts of at least 5 tokens'],
  ])('refuses to time the largest batch of %j', async (change, message) => {
    await expect(benchmarkDecoders({ ...settings, ...change, timeLargestBatch: true })).rejects.toThrow(message);
  });

  it('says how large a batch would fit, by what the weights take on the device', async () => {
    const report = await benchmarkDecoders({ ...settings, others: [other], backend: 'cpu', memoryBytes: 2 ** 22 });
    const { rows, memoryBytes } = report.largestBatches!;
    expect(memoryBytes).toBe(2 ** 22);
    for (const { model, context, batch } of rows) {
      const { shape, weightBytes: taken } = report.models.find(({ name }) => name === model)!;
      const caches = (count: number) => cacheBytes(shape, { dtype: 'f32', capacity: context, batch: count });
      expect(taken + caches(batch)).toBeLessThanOrEqual(memoryBytes);
      expect(taken + caches(batch + 1)).toBeGreaterThan(memoryBytes);
    }
  });

  it('states load times of real weights only', async () => {
    const { models, notes } = await benchmarkDecoders({ ...settings, others: [other], backend: 'cpu' });
    expect(models.map(({ loadSeconds }) => loadSeconds !== undefined)).toEqual([true, false]);
    expect(notes.join(' ')).toContain('Random weights, which cost the same time as trained ones: half.');
  });

  it('runs a model alone', async () => {
    const report = await benchmarkDecoders({ ...settings, backend: 'cpu' });
    expect(report.models).toHaveLength(1);
    expect(report.decodes.every(({ speedup }) => speedup === undefined)).toBe(true);
  });

  it.each([{ contexts: [128] }, { contexts: [0] }, { promptTokens: 129 }, { batches: [1.5] }, { rounds: 0 }])(
    'refuses %j',
    async (wrong) => {
      await expect(benchmarkDecoders({ ...settings, ...wrong, backend: 'cpu' })).rejects.toMatchObject({
        code: 'invalid-argument',
      });
    },
  );
});

describe('weightBytes', () => {
  it.each(weightFormats)('is what a loaded model takes beside its table of rotations: %s', async (weights) => {
    await selectBackend({ backend: 'cpu' });
    const bytes = async (source: typeof tiny | typeof half) => {
      const before = memory().numBytes;
      const model = await loadModel(source, { backend: 'cpu', weights });
      const taken = memory().numBytes - before;
      model.dispose();
      return taken;
    };
    // Both have the same table, so that it cancels.
    expect((await bytes(tiny)) - (await bytes(half))).toBe(
      weightBytes(tiny.shape, weights) - weightBytes(half.shape, weights),
    );
  });
});

describe('fillCache', () => {
  it.each(['f32', 'f16', 'int8', 'int4'] as const)('gives %s entries that decode to finite logits', async (dtype) => {
    const shape = { ...tiny.shape, maxPositionEmbeddings: 512 };
    const model = await loadModel({ ...tiny, shape }, { backend: 'wasm', weights: 'f32' });
    const cache = await model.createCache({ dtype, batch: 2 });
    fillCache(cache, 100, 5);
    expect(cache.lengths).toEqual([100, 100]);
    const logits = await model.extend(cache, [[1], [2]]);
    expect(logits).toHaveLength(2 * tiny.shape.vocabSize);
    expect(logits.every(Number.isFinite)).toBe(true);
    cache.dispose();
    model.dispose();
  });
});
