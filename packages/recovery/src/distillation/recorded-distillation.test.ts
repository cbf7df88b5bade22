import { KvlrError } from '@kvlr/core';
import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import { backend, memory } from '@tensorflow/tfjs-core';
import { expect, it, vi } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { countDevice } from '../testing/device-counts.ts';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { type DistillationRequest, distill } from './distill.ts';
import type { DistillationSettings } from './distillation-settings.ts';
import type { DistillationCheckpoint } from './distillation-state.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];
const teacher = createTinyModel({ seed: 4, numLayers: 2, attentionBias: true });
const texts = Array.from({ length: 6 }, (_, index) => randomTokenIds(12, teacher.shape.vocabSize, index));
const answers = texts.map((tokenIds, text) => ({
  tokenIds,
  counted: Uint8Array.from(tokenIds, (_, token) => Number(token > text)),
}));

async function requestOf(
  settings: Partial<DistillationSettings>,
  windows: DistillationRequest['windows'] = texts,
): Promise<DistillationRequest> {
  const usual = { steps: 5, warmupSteps: 1, pieceLength: 12, piecesPerStep: 2, evaluateEvery: 3, learningRate: 0.02 };
  return {
    ...{ teacher, student: await meanPooledStudent(teacher, 2), backend: 'webgpu' },
    ...{ windows: windows.slice(0, 4), heldOutWindows: texts.slice(4), settings: { ...usual, ...settings } },
  };
}

const mixture = { nextTokenShare: 0.3, temperature: 1.5, hiddenWeight: 0.2, clipNorm: 0.5 };

it.skipIf(skip).each([
  ['the divergence alone', {}, texts],
  ['several losses, passes and masks', { ...mixture, piecesPerStep: 4, piecesAtOnce: 2 }, answers],
  ['running means', { averageDecay: 0.5, piecesPerStep: 1, checkpointEvery: 1 }, texts],
] as const)('finds, recorded, what operations one by one find: %s', async (_, settings, windows) => {
  const request = await requestOf(settings, [...windows]);
  const plain = await distill({ ...request, recordSteps: false });
  const before = memory();
  const recorded = await distill(request);
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
  expect([...recorded.tensors]).toEqual([...plain.tensors]);
  recorded.points.forEach(({ trainLoss, ...point }, place) => {
    const { trainLoss: expected, ...rest } = plain.points[place]!;
    expect(point).toEqual(rest);
    // Passes are summed on the device.
    expect(trainLoss ?? 0).toBeCloseTo(expected ?? 0, 6);
  });
});

it.skipIf(skip)('goes on from a checkpoint to the same result', async () => {
  const saved: DistillationCheckpoint[] = [];
  const request = await requestOf({ checkpointEvery: 2 });
  const whole = await distill({ ...request, onCheckpoint: (checkpoint) => void saved.push(checkpoint) });
  expect(saved.map(({ step }) => step)).toEqual([0, 2, 3, 4, 5, 5, 5]);
  for (const place of [1, 2, 5]) {
    const { points, tensors } = await distill({ ...request, checkpoint: saved[place]! });
    expect(points).toEqual(whole.points);
    expect([...tensors]).toEqual([...whole.tensors]);
  }
});

it.skipIf(skip)('makes nothing from step to step, and leaves nothing where it is stopped', async () => {
  const request = await requestOf({ steps: 8, evaluateEvery: 8, checkpointEvery: 0 });
  await distill(request);
  const device = countDevice();
  const before = memory();
  const control = new AbortController();
  const onEvent: NonNullable<DistillationRequest['onEvent']> = (event) => {
    if (event.type !== 'progress') return;
    device.note();
    if (event.completed === 6) control.abort();
  };
  await expect(distill({ ...request, onEvent, signal: control.signal })).rejects.toMatchObject({ code: 'aborted' });
  vi.restoreAllMocks();
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
  expect(device.perStep()).toEqual(Array.from({ length: 4 }, () => [0, 0, 1, 1]));
});

it.skipIf(skip)('goes one operation after another where a step cannot be recorded', async () => {
  const request = await requestOf({ steps: 2, evaluateEvery: 2 });
  const plain = await distill({ ...request, recordSteps: false });
  const { device } = backend() as unknown as { device: GPUDevice };
  const create = device.createBuffer.bind(device);
  const refused = vi.spyOn(device, 'createBuffer').mockImplementation((descriptor) => {
    if (!descriptor.label?.startsWith('kvlr constant')) return create(descriptor);
    throw new KvlrError('unsupported-feature', { message: 'not here' });
  });
  const before = memory();
  const unrecorded = await distill(request);
  expect(refused).toHaveBeenCalled();
  vi.restoreAllMocks();
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
  expect([...unrecorded.tensors]).toEqual([...plain.tensors]);
});
