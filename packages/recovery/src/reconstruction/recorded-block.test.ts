import { createTinyModel, randomTokenIds } from '@kvlr/testkit';
import { backend, memory } from '@tensorflow/tfjs-core';
import { expect, it, vi } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { type ReconstructionRequest, reconstructBlocks } from './reconstruct-blocks.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];

const queryKeyNorm = {
  kind: 'rms',
  epsilon: 1e-5,
  over: 'head',
  weight: true,
  bias: false,
  unitOffset: false,
} as const;

async function requestOf(
  model: Parameters<typeof createTinyModel>[0],
  windowsPerStep: number,
): Promise<ReconstructionRequest> {
  const teacher = createTinyModel({ seed: 4, numLayers: 1, ...model });
  const windows = Array.from({ length: 6 }, (_, index) => randomTokenIds(12, teacher.shape.vocabSize, index));
  return {
    ...{ teacher, student: await meanPooledStudent(teacher, 2), backend: 'webgpu' },
    ...{ windows: windows.slice(0, 4), heldOutWindows: windows.slice(4) },
    settings: { steps: 7, warmupSteps: 2, windowsPerStep, evaluateEvery: 3, learningRate: 0.02 },
  };
}

it.skipIf(skip).each([
  ['a window a step', {}, 1],
  ['windows together, biases', { attentionBias: true }, 3],
  ['norms of queries and keys', { attention: { queryKeyNorm } }, 2],
])('finds, recorded, what operations one by one find: %s', async (_, model, windowsPerStep) => {
  const request = await requestOf(model, windowsPerStep);
  const plain = await reconstructBlocks({ ...request, recordSteps: false });
  const before = memory();
  const recorded = await reconstructBlocks(request);
  expect(recorded.history).toEqual(plain.history);
  expect(recorded.layers.map(({ tensors }) => [...tensors])).toEqual(plain.layers.map(({ tensors }) => [...tensors]));
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
});

it.skipIf(skip)('makes nothing from step to step, and leaves nothing where it is stopped', async () => {
  const request = await requestOf({}, 2);
  const settings = { ...request.settings, steps: 6, evaluateEvery: 6 };
  await reconstructBlocks({ ...request, settings });
  const { device, queue } = backend() as unknown as { device: GPUDevice; queue: GPUQueue };
  const made = (['createBindGroup', 'createBuffer'] as const).map((name) => vi.spyOn(device, name));
  const [written, submitted] = [vi.spyOn(queue, 'writeBuffer'), vi.spyOn(queue, 'submit')];
  const before = memory();
  const seen: number[][] = [];
  const control = new AbortController();
  const onEvent: NonNullable<ReconstructionRequest['onEvent']> = (event) => {
    if (event.type !== 'progress') return;
    seen.push([...made, written, submitted].map(({ mock }) => mock.calls.length));
    if (event.completed === 5) control.abort();
  };
  const running = reconstructBlocks({ ...request, settings, onEvent, signal: control.signal });
  await expect(running).rejects.toMatchObject({ code: 'aborted' });
  vi.restoreAllMocks();
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
  const steps = seen.slice(2).map((counts, index) => counts.map((count, kind) => count - seen[index + 1]![kind]!));
  expect(steps).toEqual([1, 2, 3].map(() => [0, 0, 1, 1]));
});
