import { sideStatistics } from '@kvlr/cache';
import { collectStatistics } from '@kvlr/calibration';
import { readAttentionWeights, resolveMethod } from '@kvlr/compression';
import type { CacheDtype, CalibrationStatistics, LayerStatistics, ModelSource } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { createTinyModel, expectClose, randomTokenIds } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GatherRequest, ModelRunner } from '../models/runner.ts';
import { groupingStrategies } from '../run/plugin-choices.ts';
import { createGrouper, type GroupingSource } from '../stages/grouping.ts';
import { loadCache } from './load-plugins.ts';
import { createWorkerPool, type WorkerPool } from './worker-pool.ts';

/** The threads run the built package: `npm run build` comes before these tests. */
describe('a pool of two workers', () => {
  const source = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true });
  const windows = Array.from({ length: 7 }, (_, window) => randomTokenIds(10, 50, window));
  const provenance = { modelId: source.id, textHash: 'text', seed: 0 };
  let workers: WorkerPool;
  let alone: ModelRunner;
  let together: ModelRunner;
  beforeAll(async () => {
    await prepareNodeRuntime();
    workers = createWorkerPool(2);
    alone = await ModelRunner.create({ backend: 'wasm' });
    together = await ModelRunner.create({ backend: 'wasm', workers });
  });
  afterAll(() => workers.close());

  it('gathers the statistics of one thread, bit for bit', async () => {
    const completed: number[] = [];
    const expected = await gatherWith(alone, source);
    const received = await gatherWith(together, source, {
      onEvent: (event) => event.type === 'progress' && completed.push(event.completed),
    });
    expect(received).toEqual(expected);
    expect(received.map(({ layer, tokenCount }) => [layer, tokenCount])).toEqual([
      [0, 70],
      [1, 70],
    ]);
    expect(completed).toEqual([4, 7, 11, 14]);
    expect(await gatherWith(together, source, { from: 1 })).toEqual(expected.slice(1));
    const { layers } = await inOnePass(source);
    for (const [layer, { keySecondMoment }] of layers.entries()) {
      expectClose(received[layer]!.keySecondMoment, keySecondMoment, 1e-12);
    }
  });

  it('answers the logits of one thread, bit for bit, for several models at once', async () => {
    const other = createTinyModel({ seed: 2 });
    const logitsOf = (runner: ModelRunner, model: ModelSource) =>
      runner.use(model, windows, (logits) => Promise.all(windows.map((window) => logits.logits(window))));
    const [first, second] = await Promise.all([logitsOf(together, source), logitsOf(together, other)]);
    expect(first).toEqual(await inTurn(alone, source));
    expect(second).toEqual(await inTurn(alone, other));
  });

  it('runs windows behind a cache of fewer bits as one thread does', async () => {
    const logitsOf = (runner: ModelRunner, dtype: CacheDtype) =>
      runner.useCached(source, dtype, (logits) => logits.logits(windows[0]!));
    const received = await logitsOf(together, 'int4');
    expect(received).toEqual(await logitsOf(alone, 'int4'));
    expect(received).not.toEqual(await logitsOf(alone, 'f32'));
  });

  it.each(['int4', 'klt-2'])('reads windows through a cache of %s as one thread does', async (name) => {
    const { cache } = await loadCache(name);
    const layers = await gatherWith(alone, source);
    const statistics = await Promise.all(
      layers.map(async (statistics, layer) => {
        const request = { shape: source.shape, layer, statistics, weights: await readAttentionWeights(source, layer) };
        return {
          keys: sideStatistics({ ...request, side: 'keys', keys: cache.codec.keys.keys }),
          values: sideStatistics({ ...request, side: 'values', keys: 'rotated' }),
        };
      }),
    );
    const logitsOf = (runner: ModelRunner) =>
      runner.useCoded(source, { name, cache, statistics }, (logits) => logits.logits(windows[0]!));
    expect(await logitsOf(together)).toEqual(await logitsOf(alone));
  });

  it.each(['lost-energy', 'measured-error'])('groups heads by %s as one thread does', async (label) => {
    const model = createTinyModel({ numAttentionHeads: 8, numKeyValueHeads: 8, attentionBias: true });
    const layers = await gatherWith(alone, model);
    const statistics = {
      provenance: { ...provenance, tokenCount: 70, windowLength: 10 },
      layer: async (layer: number) => layers[layer]!,
    };
    const blockInputs = async () => {
      const rows = createMatrix(20, model.shape.hiddenSize);
      rows.data.set(Float64Array.from(rows.data, (_, index) => Math.sin(index ** 2)));
      return { rows, tokens: 10 };
    };
    const source: GroupingSource = {
      ...{ model, statistics, label, blockInputs, headWidth: 1 },
      strategy: groupingStrategies.get(label).strategy,
      method: resolveMethod('rope-averaged'),
    };
    const inWorkers = createGrouper({ ...source, workers }, undefined);
    const here = createGrouper(source, undefined);
    expect([inWorkers.concurrency, here.concurrency]).toEqual([2, 1]);
    const askBoth = ({ groupsOf }: typeof here) => Promise.all([0, 1].map((layer) => groupsOf(layer, 4)));
    expect(await askBoth(inWorkers)).toEqual(await askBoth(here));
  });

  it('keeps strategies of the caller on the main thread', () => {
    const own = { strategy: () => [[0], [1]], label: 'lost-energy', method: resolveMethod('rope-averaged') };
    const unread = { model: source, statistics: undefined } as unknown as GroupingSource;
    expect(createGrouper({ ...unread, ...own, workers }, undefined).concurrency).toBe(1);
  });

  it('passes on what goes wrong in a thread', async () => {
    const broken = createTinyModel();
    broken.dense.delete(broken.tensorName('finalNorm'));
    const use = together.use(broken, windows, (logits) => logits.logits(windows[0]!));
    await expect(use).rejects.toMatchObject({ name: 'KvlrError', code: 'tensor-missing' });
  });

  it('stops when told to', async () => {
    const collect = gatherWith(together, source, { signal: AbortSignal.abort() });
    await expect(collect).rejects.toMatchObject({ code: 'aborted' });
  });

  it('rejects what is asked of a pool that is closed meanwhile', async () => {
    const short = createWorkerPool(2);
    const refused = expect(short.load(source, { backend: 'wasm' })).rejects.toMatchObject({ code: 'worker-failed' });
    await short.close();
    await refused;
  });

  async function gatherWith(runner: ModelRunner, model: ModelSource, settings: Partial<GatherRequest> = {}) {
    const layers: LayerStatistics[] = [];
    const keep = async (layer: LayerStatistics) => void layers.push(layer);
    await runner.gatherStatistics(model, { windows, provenance, keep, ...settings });
    return layers;
  }

  async function inOnePass(model: ModelSource): Promise<CalibrationStatistics> {
    const activations = await loadModel(model, { backend: 'wasm' });
    try {
      return await collectStatistics({ activations, windows, provenance });
    } finally {
      activations.dispose();
    }
  }

  async function inTurn(runner: ModelRunner, model: ModelSource): Promise<Float32Array[]> {
    return runner.use(model, windows, async (logits) => {
      const answers: Float32Array[] = [];
      for (const window of windows) answers.push(await logits.logits(window));
      return answers;
    });
  }
});

it.each([0, 1.5, Number.NaN])('refuses %s workers', (count) => {
  expect(() => createWorkerPool(count)).toThrowError(expect.objectContaining({ code: 'invalid-argument' }));
});
