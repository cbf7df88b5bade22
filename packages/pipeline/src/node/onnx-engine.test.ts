import type { LayerStatistics } from '@kvlr/core';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { createTinyModel, differenceByRange, randomTokenIds } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ModelRunner } from '../models/runner.ts';
import { onnxEngine } from './onnx-engine.ts';
import { createWorkerPool, type WorkerPool } from './worker-pool.ts';

/** The threads run the built package: `npm run build` comes before these tests. */
describe.each([1, 2])('windows in native code, %i at once', (count) => {
  const source = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true });
  const windows = Array.from({ length: 5 }, (_, window) => randomTokenIds(10, 50, window));
  const provenance = { modelId: source.id, textHash: 'text', seed: 0 };
  let workers: WorkerPool;
  let reference: ModelRunner;
  let native: ModelRunner;
  beforeAll(async () => {
    await prepareNodeRuntime();
    workers = createWorkerPool(count);
    reference = await ModelRunner.create({ backend: 'wasm' });
    native = await ModelRunner.create({ backend: 'wasm', engine: 'onnx', nativeEngine: onnxEngine, workers });
  });
  afterAll(() => workers.close());

  it("have TensorFlow.js's logits, the model whole or layer by layer", async () => {
    const logitsOf = (runner: ModelRunner) => runner.use(source, windows, (model) => model.logits(windows[1]!));
    const inParts = native.stream(source, windows, async (stream) => {
      await stream.advanceToEnd();
      return stream.logits(windows[1]!);
    });
    const expected = await logitsOf(reference);
    expect(differenceByRange(await logitsOf(native), expected)).toBeLessThan(1e-5);
    expect(differenceByRange(await inParts, expected)).toBeLessThan(1e-5);
  });

  it('have its statistics', async () => {
    const statisticsOf = async (runner: ModelRunner) => {
      const layers: LayerStatistics[] = [];
      const keep = async (layer: LayerStatistics) => void layers.push(layer);
      await runner.gatherStatistics(source, { windows, provenance, keep });
      return layers;
    };
    const [received, expected] = [await statisticsOf(native), await statisticsOf(reference)];
    expect(received.map(({ tokenCount }) => tokenCount)).toEqual([50, 50]);
    for (const [layer, { keySecondMoment, attendedSecondMoment }] of received.entries()) {
      expect(differenceByRange(keySecondMoment, expected[layer]!.keySecondMoment)).toBeLessThan(1e-5);
      expect(differenceByRange(attendedSecondMoment, expected[layer]!.attendedSecondMoment)).toBeLessThan(1e-5);
    }
  });

  it('are named in reports', () => {
    expect(native.description).toMatch(/^ONNX Runtime [\d.]+, as asked; the rest on wasm/);
  });
});
