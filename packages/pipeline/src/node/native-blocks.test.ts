import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { overlayModel } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import {
  countElements,
  createNormalRandom,
  type DenseTensor,
  KvlrError,
  type KvlrEvent,
  layerTensors,
  MemoryStreamStore,
  type ModelSource,
  readTensor,
} from '@kvlr/core';
import {
  applyReconstruction,
  keptReconstruction,
  type LoadLayer,
  type ReconstructionRequest,
  reconstructBlocks,
} from '@kvlr/recovery';
import { disposeTensors, selectBackend, uploadLayer } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { createTinyModel, differenceByRange, randomTokenIds, readGolden } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockTargets } from '../../../recovery/src/reconstruction/block-targets.ts';
import { NativeBlockPasses } from '../../../recovery/src/reconstruction/native-block.ts';
import { TensorBlock } from '../../../recovery/src/reconstruction/tensor-block.ts';
import { readLayers } from '../../../recovery/src/testing/read-layers.ts';
import { WholeProjections } from '../../../recovery/src/training/whole-projections.ts';
import { compress } from '../compress.ts';
import { ModelRunner } from '../models/runner.ts';
import { readBundle } from '../run/artefact.ts';
import { MemoryRunStore } from '../run/store.ts';
import { tinyRecipe, tinyRun } from '../testing/tiny-run.ts';
import { onnxEngine } from './onnx-engine.ts';
import { spilledStreams } from './spilled-streams.ts';
import { createWorkerPool, type WorkerPool } from './worker-pool.ts';

const teacher = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true, seed: 5 });
const nativeRuntime = { backend: 'wasm', engine: 'onnx', nativeEngine: onnxEngine } as const;
const windows = Array.from({ length: 8 }, (_, window) => randomTokenIds(20, 50, window));

/** The teacher with noise on some tensors. */
async function spoil(model: ModelSource, spoilt = /^(value|output)Weight$/): Promise<ModelSource> {
  const normal = createNormalRandom(3);
  const entries = model.shape.layers.flatMap((_, layer) => layerTensors(model.shape, layer));
  const tensors = new Map<string, DenseTensor>();
  for (const entry of entries.filter(({ role }) => spoilt.test(role))) {
    const size = Math.sqrt(
      (await readTensor(model, entry)).reduce((sum, value) => sum + value * value, 0) / countElements(entry.shape),
    );
    const data = (await readTensor(model, entry)).map((value) => value + 0.2 * size * normal());
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
  const received = await reconstructBlocks({ ...request, native: native.nativeReconstruction });
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

/** All of attention, norms of queries and keys included. */
const trained = /^(query|key|value|output)(Weight|Bias|Norm)$/;

/** A block in training on both engines, over the first layer of a spoilt model; the caller disposes it. */
async function openBlock(original: ModelSource) {
  const student = await spoil(original, trained);
  const { shape } = student;
  const weights = await uploadLayer(student, 0);
  const attention = new WholeProjections(weights);
  const normal = createNormalRandom(7);
  const streams = () => windows.map(() => Float32Array.from({ length: 20 * shape.hiddenSize }, () => normal()));
  const [before, after, compressed] = [streams(), streams(), streams()];
  const targets = new BlockTargets(shape.hiddenSize, new MemoryStreamStore());
  for (const [place, target] of after.entries()) await targets.add(place, before[place]!, target);
  const inputs = new MemoryStreamStore();
  for (const [place, stream] of compressed.entries()) await inputs.write(place, stream);
  const task = {
    ...{ attention, shape, layer: 0 },
    train: targets.pairs(inputs, 0, 6),
    heldOut: targets.pairs(inputs, 6, 8),
  };
  const block = await onnxEngine.training!.loadBlock(student, 0, [...attention.roles.keys()]);
  const [tensors, native] = [await TensorBlock.open(task), new NativeBlockPasses(block, task)];
  const dispose = () => {
    for (const passes of [tensors, native]) passes.dispose();
    attention.dispose();
    disposeTensors(weights);
  };
  return { tensors, native, dispose };
}

const wider = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, attentionBias: true, seed: 5 });
const families = ['cohere', 'gemma2', 'gpt2', 'granite', 'mpt_alibi', 'olmo2', 'phi', 'qwen3'];

it.each(['llama', ...families])("knows TensorFlow.js's errors, gradients and moments: %s", async (name) => {
  await prepareNodeRuntime();
  await selectBackend({ backend: 'wasm' });
  const checkpoint = name === 'llama' ? undefined : await openCheckpointDirectory(readGolden(name).directory);
  const { tensors, native, dispose } = await openBlock(checkpoint ?? wider);
  const [expectedError, error] = [await tensors.heldOutError(), await native.heldOutError()];
  expect(Math.abs(error - expectedError)).toBeLessThan(1e-5 * expectedError);
  const batch = [4, 1, 2];
  const [expected, found] = [await tensors.gradients(batch), await native.gradients(batch)];
  const [wanted, received] = [(await expected.error.data())[0]!, (await found.error.data())[0]!];
  expect(Math.abs(received - wanted)).toBeLessThan(1e-5 * wanted);
  expect(Object.keys(found.gradients)).toEqual(Object.keys(expected.gradients));
  // Together: by itself a gradient may be zero but for rounding, as that of a key's bias is where nothing turns it.
  const numbersOf = async (gradients: typeof expected.gradients) =>
    (await Promise.all(Object.values(gradients).map((gradient) => gradient.data()))).flatMap((each) => [...each]);
  const [ours, theirs] = [await numbersOf(found.gradients), await numbersOf(expected.gradients)];
  expect(differenceByRange(ours, theirs)).toBeLessThan(5e-6);
  const [sums, moments] = [await tensors.moments('train'), await native.moments('train')];
  expect(differenceByRange([...moments.gram.data], [...sums.gram.data])).toBeLessThan(2e-6);
  expect(differenceByRange([...moments.lack.data], [...sums.lack.data])).toBeLessThan(2e-6);
  expect(Math.abs(moments.energy - sums.energy)).toBeLessThan(1e-5 * sums.energy);
  for (const each of [expected, found]) {
    for (const tensor of [each.error, ...Object.values(each.gradients)]) tensor.dispose();
  }
  dispose();
  await checkpoint?.close();
});

const steps = { steps: 6, warmupSteps: 1, windowsPerStep: 2, evaluateEvery: 2, learningRate: 0.01 };

it.each(['llama', 'granite', 'qwen3', 'gemma2'])('takes the steps that TensorFlow.js takes: %s', async (name) => {
  await prepareNodeRuntime();
  const checkpoint = name === 'llama' ? undefined : await openCheckpointDirectory(readGolden(name).directory);
  const original = checkpoint ?? wider;
  const student = await spoil(original, trained);
  const request: ReconstructionRequest = {
    ...{ teacher: original, student, windows: windows.slice(0, 6), heldOutWindows: windows.slice(0, 6) },
    ...{ settings: steps, backend: 'wasm' },
  };
  const reference = await reconstructBlocks(request);
  const events: KvlrEvent[] = [];
  const { nativeReconstruction: native } = await ModelRunner.create(nativeRuntime);
  const onEvent = (event: KvlrEvent) => events.push(event);
  const received = await reconstructBlocks({ ...request, native, onEvent });
  expect(events).toContainEqual(expect.objectContaining({ message: 'Blocks are trained in native code.' }));
  for (const [layer, { points, kept }] of reference.history.entries()) {
    expect(kept).toBe('steps');
    const found = received.history[layer]!;
    expect(found.points.map(({ step }) => step)).toEqual(points.map(({ step }) => step));
    for (const [place, { heldOutError, trainError = 0 }] of points.entries()) {
      const point = found.points[place]!;
      expect(Math.abs(point.heldOutError - heldOutError)).toBeLessThan(1e-3 * heldOutError);
      expect(Math.abs((point.trainError ?? 0) - trainError)).toBeLessThanOrEqual(1e-3 * trainError);
    }
  }
  await checkpoint?.close();
});

it.each(['native code', 'TensorFlow.js'])('finds the same numbers where streams lie on disk: %s', async (engine) => {
  await prepareNodeRuntime();
  const { nativeReconstruction } = await ModelRunner.create(nativeRuntime);
  const request: ReconstructionRequest = {
    ...{ teacher: wider, student: await spoil(wider, trained), settings: steps, backend: 'wasm' },
    ...{ windows: windows.slice(0, 6), heldOutWindows: windows.slice(6) },
    native: engine === 'native code' ? nativeReconstruction : undefined,
  };
  const directory = await mkdtemp(join(tmpdir(), 'kvlr-test-'));
  // Two windows of each set stay in memory.
  const streams = spilledStreams(2 * 4 * windows[0]!.length * wider.shape.hiddenSize, directory);
  const inMemory = await reconstructBlocks(request);
  const onDisk = await reconstructBlocks({ ...request, streams });
  expect(onDisk.history).toEqual(inMemory.history);
  expect(await readLayers(onDisk.layers)).toEqual(await readLayers(inMemory.layers));
  expect(await readdir(directory)).toEqual([]);
  await rm(directory, { recursive: true });
});

it('leaves norms behind the stream, and blocks without gradients, to TensorFlow.js, and says so', async () => {
  await prepareNodeRuntime();
  const messages: string[] = [];
  const { nativeReconstruction: native } = await ModelRunner.create(nativeRuntime);
  const reconstruct = async (original: ModelSource, given: ReconstructionRequest['native']) => {
    const { history } = await reconstructBlocks({
      ...{ teacher: original, student: original, windows: windows.slice(0, 2), heldOutWindows: windows.slice(2, 3) },
      ...{ settings: { ...steps, steps: 1 }, backend: 'wasm', native: given },
      onEvent: (event) => event.type === 'note' && messages.push(event.message),
    });
    expect(history.map(({ points }) => points.at(-1)!.step)).toEqual(history.map(() => 1));
  };
  const checkpoint = await openCheckpointDirectory(readGolden('opt_postnorm').directory);
  await reconstruct(checkpoint, native);
  await checkpoint.close();
  expect(messages).toContain(
    'Blocks are trained in TensorFlow.js (wasm): the model has norms behind the sum of stream and block.',
  );
  const loadBlock = async () => {
    throw new KvlrError('unsupported-feature', { message: 'expected an operator with a gradient, got Round' });
  };
  await reconstruct(wider, { ...native!, training: { loadBlock } });
  expect(messages).toContain(
    'Layer 2 is trained in TensorFlow.js (wasm): expected an operator with a gradient, got Round.',
  );
});

it('stops on the signal, and frees every layer', async () => {
  await prepareNodeRuntime();
  const { nativeReconstruction: native } = await ModelRunner.create(nativeRuntime);
  let open = 0;
  const counted = async (...given: Parameters<LoadLayer>) => {
    const loaded = await native!.loadLayer(...given);
    open += 1;
    const dispose = () => {
      open -= 1;
      loaded.dispose();
    };
    return { ...loaded, dispose };
  };
  const control = new AbortController();
  const student = await spoil(teacher);
  const running = reconstructBlocks({
    ...{ teacher, student, windows: windows.slice(0, 6), heldOutWindows: windows.slice(6) },
    ...{ preset: 'refit', backend: 'wasm', native: { ...native!, loadLayer: counted }, signal: control.signal },
    keepLayer: async (layer) => {
      control.abort();
      return keptReconstruction(layer, async () => layer);
    },
  });
  await expect(running).rejects.toMatchObject({ code: 'aborted' });
  expect(open).toBe(0);
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
  expect((await ModelRunner.create({ backend: 'wasm', engine: 'tfjs' })).nativeReconstruction).toBeUndefined();
});
