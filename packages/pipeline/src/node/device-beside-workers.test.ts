import { cacheSize, type LayerStatistics, type ModelSource } from '@kvlr/core';
import { evaluate, scoreLogits } from '@kvlr/evaluation';
import { DecoderInParts, selectBackend } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { createTinyModel, randomTokenIds, softwareGpuSettings, useSoftwareGpu } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelRunner } from '../models/runner.ts';
import { createWorkerPool, type WorkerPool } from './worker-pool.ts';

useSoftwareGpu();
await prepareNodeRuntime({ dawn: softwareGpuSettings });
const device = await selectBackend({ backend: 'webgpu' }).catch(() => undefined);

/** The threads run the built package: `npm run build` comes before these tests. */
describe.skipIf(device === undefined)('a GPU with threads beside it', () => {
  const source = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true });
  const windows = Array.from({ length: 11 }, (_, window) => randomTokenIds(10, 50, window));
  const provenance = { modelId: source.id, textHash: 'text', seed: 0 };
  let workers: WorkerPool;
  beforeAll(() => {
    workers = createWorkerPool(2);
  });
  afterAll(() => workers.close());

  async function gather(model: ModelSource, helpers?: WorkerPool) {
    const runner = await ModelRunner.create({ backend: 'webgpu', engine: 'tfjs', workers: helpers });
    const layers: LayerStatistics[] = [];
    const completed: number[] = [];
    await runner.gatherStatistics(model, {
      ...{ windows, provenance },
      keep: async (layer) => void layers.push(layer),
      onEvent: (event) => event.type === 'progress' && completed.push(event.completed),
    });
    return { layers, completed };
  }

  it('gathers the statistics of one thread, bit for bit', async () => {
    const alone = await gather(source);
    expect(alone.completed).toEqual([4, 8, 11, 15, 19, 22]);
    expect(await gather(source, workers)).toEqual(alone);
  });

  it('names layer and tap of a number that is none, found on a thread', async () => {
    const broken = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
    broken.dense.get(broken.tensorName('valueWeight', 1))!.data[3] = Number.NaN;
    await expect(gather(broken, workers)).rejects.toMatchObject({
      code: 'non-finite',
      where: { layer: 1, argument: 'value' },
    });
  });

  it('has the logits and losses of one layer after another, windows side by side', async () => {
    const runner = await ModelRunner.create({ backend: 'webgpu', engine: 'tfjs' });
    const parts = await DecoderInParts.open(source, { backend: 'webgpu' });
    const streams: Float32Array[] = [];
    for await (const stream of parts.embed(windows)) streams.push(stream);
    for (const layer of source.shape.layers.keys()) {
      const loaded = await parts.loadLayer(layer);
      for (const [place, stream] of streams.entries()) streams[place] = (await loaded.pass(stream, [])).after;
      loaded.dispose();
    }
    const head = await parts.loadHead();
    const expected: Float32Array[] = [];
    for (const stream of streams) expected.push(await head.logits(stream));
    head.dispose();
    const targets = (window: Int32Array) => window.map((id) => (id + 7) % 50);
    const { logits, losses } = await runner.use(source, windows, async (model) => {
      expect(model.concurrency).toBeGreaterThan(1);
      return {
        logits: await Promise.all(windows.map((window) => model.logits(window))),
        losses: await Promise.all(windows.map((window) => model.losses!(window, targets(window)))),
      };
    });
    expect(logits).toEqual(expected);
    for (const [place, window] of windows.entries()) {
      const sum = losses[place]!.reduce((total, loss) => total + loss, 0);
      const reference = scoreLogits(expected[place]!, targets(window), source.shape.vocabSize);
      expect(Math.abs(sum / reference - 1)).toBeLessThan(1e-5);
    }
  });

  it('compares with a base on threads to the numbers of one', async () => {
    const compare = async (helpers?: WorkerPool) => {
      const runner = await ModelRunner.create({ backend: 'webgpu', engine: 'tfjs', workers: helpers });
      const cut = windows.map((tokenIds) => ({ source: 'text', tokenIds }));
      const inputs = windows.map((tokenIds) => tokenIds.slice(0, -1));
      const cache = cacheSize(source.shape, 4);
      return runner.use(source, inputs, (model) =>
        runner.use(createTinyModel({ seed: 5 }), inputs, (base) =>
          evaluate({ model, base, modelId: 'model', windows: cut, cache, compare: runner.compareLogits }),
        ),
      );
    };
    const together = await compare(workers);
    expect(together.againstBase!.klDivergence.value).toBeGreaterThan(0);
    expect(together).toEqual(await compare());
  });
});
