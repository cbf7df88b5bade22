import { overlayModel } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { createNormalRandom, type DenseTensor, layerTensors, type ModelSource, readTensor } from '@kvlr/core';
import { applyReconstruction, type ReconstructionRequest, reconstructBlocks } from '@kvlr/recovery';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { createTinyModel, differenceByRange, randomTokenIds, readGolden } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compress } from '../compress.ts';
import { ModelRunner } from '../models/runner.ts';
import { readBundle } from '../run/artefact.ts';
import { MemoryRunStore } from '../run/store.ts';
import { tinyRecipe, tinyRun } from '../testing/tiny-run.ts';
import { onnxEngine } from './onnx-engine.ts';
import { createWorkerPool, type WorkerPool } from './worker-pool.ts';

const teacher = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true, seed: 5 });
const nativeRuntime = { backend: 'wasm', engine: 'onnx', nativeEngine: onnxEngine } as const;
const windows = Array.from({ length: 8 }, (_, window) => randomTokenIds(20, 50, window));

/** The teacher with noise on values and outputs. */
async function spoil(model: ModelSource): Promise<ModelSource> {
  const normal = createNormalRandom(3);
  const entries = model.shape.layers.flatMap((_, layer) => layerTensors(model.shape, layer));
  const tensors = new Map<string, DenseTensor>();
  for (const entry of entries.filter(({ role }) => role === 'valueWeight' || role === 'outputWeight')) {
    const data = (await readTensor(model, entry)).map((value) => value + 0.1 * normal());
    tensors.set(model.tensorName(entry.role, entry.layer), { shape: [...entry.shape], data });
  }
  return overlayModel(model, { shape: model.shape, tensors, id: 'spoilt' });
}

/** Refits a spoilt model on both engines, and expects equal output projections and errors. */
async function expectSameRefit(original: ModelSource, native: ModelRunner): Promise<void> {
  const student = await spoil(original);
  const request: ReconstructionRequest = {
    ...{ teacher: original, student, windows: windows.slice(0, 6), heldOutWindows: windows.slice(6) },
    ...{ preset: 'refit', backend: 'wasm' },
  };
  const reference = await reconstructBlocks(request);
  const received = await reconstructBlocks({ ...request, loadLayer: native.loadNativeLayer });
  for (const [layer, { initialError, finalError, kept }] of received.history.entries()) {
    const expected = reference.history[layer]!;
    expect(kept).toBe('refit');
    expect(expected.kept).toBe('refit');
    expect(Math.abs(initialError - expected.initialError)).toBeLessThan(1e-5 * Math.max(1, expected.initialError));
    expect(Math.abs(finalError - expected.finalError)).toBeLessThan(1e-5);
    const outputs = [received, reference].map(({ layers }) => {
      const entry = layerTensors(student.shape, layer).find(({ role }) => role === 'outputWeight')!;
      return readTensor(applyReconstruction(student, layers), entry);
    });
    expect(differenceByRange(await outputs[0]!, await outputs[1]!)).toBeLessThan(1e-4);
  }
}

/** The threads run the built package: `npm run build` comes before these tests. */
describe.each([1, 2])('a refit in native code, %i windows at once', (count) => {
  let workers: WorkerPool;
  let native: ModelRunner;
  beforeAll(async () => {
    await prepareNodeRuntime();
    workers = createWorkerPool(count);
    native = await ModelRunner.create({ ...nativeRuntime, workers });
  });
  afterAll(() => workers.close());

  it("finds TensorFlow.js's output projections and errors", () => expectSameRefit(teacher, native));
});

/** Parallel blocks, a residual factor, q/k norms, ALiBi, learned positions, output biases. */
it.each(['bloom', 'cohere', 'gpt2', 'granite', 'phi', 'qwen3'])('finds them for %s', async (name) => {
  await prepareNodeRuntime();
  const checkpoint = await openCheckpointDirectory(readGolden(name).directory);
  await expectSameRefit(checkpoint, await ModelRunner.create(nativeRuntime));
  await checkpoint.close();
});

it('resumes from its layers, and leaves everything but output projections to the closed form', async () => {
  const store = new MemoryRunStore();
  const recipe = { ...tinyRecipe, recovery: { ...tinyRecipe.recovery, preset: 'refit' as const, steps: 0 } };
  const run = { ...(await tinyRun()), recipe, runtime: nativeRuntime, store };
  const first = await compress(run);
  const name = (await store.list()).find((file) => file.startsWith('5-recovery/'))!;
  const { tensors } = await readBundle((await store.read(name))!);
  expect([...tensors.keys()].filter((tensor) => !tensor.includes('o_proj'))).toEqual([]);
  const second = await compress(run);
  expect(second.stages.find(({ stage }) => stage === 'recovery')!.skipped).toBe(true);
  expect(second.evaluation).toEqual(first.evaluation);
});

it('has no native layers where windows run on TensorFlow.js', async () => {
  expect((await ModelRunner.create({ backend: 'wasm', engine: 'tfjs' })).loadNativeLayer).toBeUndefined();
});
