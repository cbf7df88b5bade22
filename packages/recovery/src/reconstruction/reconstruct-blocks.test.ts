import { overlayModel } from '@kvlr/checkpoint';
import type { DenseTensor, KvlrEvent } from '@kvlr/core';
import { createTinyModel, differenceByRange, randomTokenIds } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { readLayers } from '../testing/read-layers.ts';
import { type ReconstructionRequest, reconstructBlocks } from './reconstruct-blocks.ts';
import {
  applyReconstruction,
  type KeptReconstruction,
  keptReconstruction,
  type ReconstructedLayer,
} from './reconstructed-layer.ts';

const teacher = createTinyModel({ seed: 4, attentionBias: true });
const windows = Array.from({ length: 8 }, (_, index) => randomTokenIds(16, teacher.shape.vocabSize, index));
const settings = {
  steps: 12,
  warmupSteps: 2,
  windowsPerStep: 2,
  evaluateEvery: 4,
  refitOutput: false,
  learningRate: 0.02,
};
let request: ReconstructionRequest;

beforeAll(async () => {
  const student = await meanPooledStudent(teacher, 2);
  request = {
    teacher,
    student,
    windows: windows.slice(0, 6),
    heldOutWindows: windows.slice(6),
    settings,
    backend: 'wasm',
  };
});

const numbers = async (layers: readonly KeptReconstruction[]): Promise<number[]> =>
  [...(await readLayers(layers)).values()].flatMap((data) => [...data]);

describe.each(await testedBackends())('on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('brings every block nearer, by the same steps as on the CPU', async () => {
    const few = { ...settings, steps: 4, evaluateEvery: 2 };
    const reference = await reconstructBlocks({ ...request, settings: few, backend: 'cpu' });
    const { layers, history } = await reconstructBlocks({ ...request, settings: few, backend });
    for (const { initialError, finalError, points } of history) {
      expect(finalError).toBeLessThan(initialError);
      const trainErrors = points.flatMap(({ trainError }) => trainError ?? []);
      expect(trainErrors[1]!).toBeLessThan(trainErrors[0]!);
    }
    expect(differenceByRange(await numbers(layers), await numbers(reference.layers))).toBeLessThan(1e-3);
  });
});

it.each([
  ['zero', 'valueWeight', 0],
  ['denormal', 'valueWeight', 1e-42],
  ['huge', 'outputWeight', 1e30],
] as const)('keeps the closed form of a layer of %s numbers, and says so', async (_, role, factor) => {
  const plain = createTinyModel({ seed: 4 });
  const name = plain.tensorName(role, 1);
  const data = (await plain.tensors.readFloat32(name)).map((value) => value * factor);
  const tensors = new Map([[name, { shape: plain.dense.get(name)!.shape, data }]]);
  const broken = overlayModel(plain, { shape: plain.shape, tensors, id: 'broken' });
  const student = await meanPooledStudent(broken, 2);
  const events: KvlrEvent[] = [];
  const refits = { ...settings, steps: 2, refitOutput: true };
  const onEvent = (event: KvlrEvent) => events.push(event);
  const { history } = await reconstructBlocks({ ...request, teacher: broken, student, settings: refits, onEvent });
  const warnings = events.filter(({ type }) => type === 'warning');
  expect(warnings).toMatchObject([{ message: expect.stringMatching(/^Layer 2 keeps its closed form: /) }]);
  expect(history[1]!.kept).toBe('closed form');
  expect(JSON.stringify(history)).not.toContain('null');
});

it('starts from what applyReconstruction makes of its result', async () => {
  const short = { ...request, settings: { ...settings, steps: 4 } };
  const { layers, history } = await reconstructBlocks(short);
  const again = await reconstructBlocks({ ...short, student: applyReconstruction(request.student, layers) });
  again.history.forEach(({ initialError }, layer) => {
    if (layer === 0) expect(initialError).toBeCloseTo(history[layer]!.finalError, 6);
  });
});

it('keeps the start where no step helps on the held-out windows', async () => {
  const { layers, history } = await reconstructBlocks({ ...request, settings: { ...settings, learningRate: 50 } });
  for (const { initialError, finalError } of history) expect(finalError).toBe(initialError);
  for (const [name, data] of await readLayers(layers)) {
    expect(data).toEqual(await request.student.tensors.readFloat32(name));
  }
});

it('looks at points on the way to where steps have overshot', async () => {
  const overshooting = { ...settings, steps: 4, evaluateEvery: 4, learningRate: 1 };
  const { history } = await reconstructBlocks({ ...request, settings: overshooting });
  for (const { points } of history) {
    const [start, end, far, near] = points.map(({ heldOutError }) => heldOutError);
    expect(end).toBeGreaterThan(start!);
    expect(far).toBeLessThan(end!);
    expect(near).toBeLessThan(far!);
  }
});

it('leaves a student exact that lost nothing', async () => {
  const dense = new Map<string, DenseTensor>(teacher.dense);
  const twins = createTinyModel({ seed: 4, attentionBias: true });
  for (const [name, { shape, data }] of dense) {
    if (!/[kv]_proj/.test(name)) continue;
    const headSize = data.length / teacher.shape.numKeyValueHeads;
    const copied = Float32Array.from(
      data,
      (_, index) => data[(index % headSize) + Math.floor(index / headSize / 2) * 2 * headSize]!,
    );
    twins.dense.set(name, { shape, data: copied });
  }
  const student = await meanPooledStudent(twins, 2);
  const { history } = await reconstructBlocks({ ...request, teacher: twins, student });
  for (const { finalError } of history) expect(finalError).toBeLessThan(1e-10);
});

it('resumes after a layer with the same result as without a break, and lets go of layers that lie elsewhere', async () => {
  const whole = await reconstructBlocks(request);
  const saved = new Map<number, ReconstructedLayer>();
  const trained: number[] = [];
  const reads: number[] = [];
  const keepLayer = async (done: ReconstructedLayer) => {
    saved.set(done.layer, done);
    trained.push(done.layer);
    return keptReconstruction(done, async (layer) => {
      reads.push(layer);
      return saved.get(layer)!;
    });
  };
  const kept = await reconstructBlocks({ ...request, keepLayer });
  expect(trained.splice(0)).toEqual([0, 1]);
  // The compressed model's windows have passed the first layer.
  expect(new Set(reads)).toEqual(new Set([0]));
  const models = [whole, kept].map(({ layers }) => applyReconstruction(request.student, layers));
  expect(models[1]!.id).toBe(models[0]!.id);
  expect(await numbers(kept.layers)).toEqual(await numbers(whole.layers));
  const resumed = await reconstructBlocks({ ...request, keepLayer, completedLayers: kept.layers.slice(0, 1) });
  expect(trained).toEqual([1]);
  expect(await numbers(resumed.layers)).toEqual(await numbers(whole.layers));
});

it('reports its progress and stops early when the steps lead away', async () => {
  const events: KvlrEvent[] = [];
  const { history } = await reconstructBlocks({
    ...request,
    settings: { ...settings, learningRate: 50 },
    onEvent: (event) => events.push(event),
  });
  expect(history.map(({ points }) => points.map(({ step }) => step))).toEqual([
    [0, 4, 4, 4],
    [0, 4, 4, 4],
  ]);
  const progress = events.filter((event) => event.type === 'progress');
  expect(progress.map(({ completed }) => completed)).toEqual([1, 2, 3, 4, 13, 14, 15, 16]);
  expect(history.map(({ kept }) => kept)).toEqual(['closed form', 'closed form']);
  expect(progress[0]).toMatchObject({ stage: 'recovery', total: 24, unit: 'steps' });
  expect(progress[0]!.detail).toBe('layer 1 of 2');
});

it('stops on the signal and leaves no tensors behind', async () => {
  const before = memory().numTensors;
  const control = new AbortController();
  const running = reconstructBlocks({
    ...request,
    signal: control.signal,
    onEvent: (event) => {
      if (event.type === 'progress' && event.completed === 15) control.abort();
    },
  });
  await expect(running).rejects.toMatchObject({ code: 'aborted' });
  expect(memory().numTensors).toBe(before);
  await reconstructBlocks(request);
  expect(memory().numTensors).toBe(before);
});

it('refuses what does not fit together', async () => {
  const refuse = (changes: Partial<ReconstructionRequest>, error: object) =>
    expect(reconstructBlocks({ ...request, ...changes })).rejects.toMatchObject(error);
  await refuse(
    { teacher: createTinyModel({ numLayers: 3 }) },
    { code: 'invalid-argument', data: { name: 'numLayers' } },
  );
  await refuse({ heldOutWindows: [] }, { code: 'text-too-short' });
  await refuse(
    { windows: [windows[0]!, windows[1]!.slice(1)] },
    { code: 'invalid-argument', data: { lengths: [16, 15] } },
  );
  await refuse(
    {
      windows: [Int32Array.of(1, 2, 50), ...windows].map((ids) => ids.slice(0, 3)),
      heldOutWindows: [windows[0]!.slice(0, 3)],
    },
    {
      code: 'tokenizer-mismatch',
    },
  );
  const [layer] = (await reconstructBlocks({ ...request, settings: { ...settings, steps: 1 } })).layers;
  await refuse({ completedLayers: [{ ...layer!, layer: 1 }] }, { code: 'run-mismatch' });
  await refuse({ settings: { steps: -1 } }, { code: 'invalid-argument', data: { setting: 'steps' } });
});
