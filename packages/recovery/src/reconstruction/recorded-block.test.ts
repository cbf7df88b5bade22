import { selectBackend } from '@kvlr/runtime';
import { createTinyModel, differenceByRange, randomTokenIds } from '@kvlr/testkit';
import { matMul, memory, square, sum } from '@tensorflow/tfjs-core';
import { expect, it, vi } from 'vitest';
import { testedBackends } from '../../../runtime/src/testing/tested-backends.ts';
import { countDevice } from '../testing/device-counts.ts';
import { meanPooledStudent } from '../testing/mean-pooled-student.ts';
import { readLayers } from '../testing/read-layers.ts';
import { HeldWindows } from './held-windows.ts';
import { type ReconstructionRequest, reconstructBlocks } from './reconstruct-blocks.ts';
import { type BlockOperations, RecordedBlock } from './recorded-block.ts';

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
  expect(await readLayers(recorded.layers)).toEqual(await readLayers(plain.layers));
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
});

it.skipIf(skip)('sums moments over groups of windows, the last one smaller', async () => {
  await selectBackend({ backend: 'webgpu' });
  const before = memory();
  const values = (seed: number, count: number) =>
    Float32Array.from({ length: count }, (_, n) => Math.sin(seed + n * n));
  const held = (seed: number, width: number) =>
    new HeldWindows(
      Array.from({ length: 5 }, (_, window) => values(seed + window, 2 * width)),
      width,
    );
  const train = { inputs: held(1, 3), targets: held(9, 3), weights: held(5, 1) };
  const operations: BlockOperations = {
    variables: [],
    windows: { train, heldOut: train },
    errorOf: (_, { inputs }) => sum(inputs),
    momentsOf: ({ inputs, targets }) => [
      matMul(inputs, inputs, true),
      matMul(inputs, targets, true),
      sum(square(targets)),
    ],
  };
  const block = new RecordedBlock(operations);
  const seen: number[][] = [];
  for (const groups of [[[0, 1, 2, 3, 4]], [[0, 1], [2, 3], [4]], [[0], [1], [2], [3], [4]]]) {
    const sums = Object.values(block.moments('train', groups, () => undefined));
    seen.push((await Promise.all(sums.map((each) => each.data()))).flatMap((each) => [...each]));
    for (const each of sums) each.dispose();
  }
  for (const numbers of seen.slice(1)) expect(differenceByRange(numbers, seen[0]!)).toBeLessThan(1e-6);
  block.dispose();
  for (const each of Object.values(train)) each.dispose();
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
});

it.skipIf(skip)('makes nothing from step to step, and leaves nothing where it is stopped', async () => {
  const request = await requestOf({}, 2);
  const settings = { ...request.settings, steps: 6, evaluateEvery: 6 };
  await reconstructBlocks({ ...request, settings });
  const device = countDevice();
  const before = memory();
  const control = new AbortController();
  const onEvent: NonNullable<ReconstructionRequest['onEvent']> = (event) => {
    if (event.type !== 'progress') return;
    device.note();
    if (event.completed === 5) control.abort();
  };
  const running = reconstructBlocks({ ...request, settings, onEvent, signal: control.signal });
  await expect(running).rejects.toMatchObject({ code: 'aborted' });
  vi.restoreAllMocks();
  expect(memory()).toMatchObject({ numTensors: before.numTensors, numDataBuffers: before.numDataBuffers });
  expect(device.perStep()).toEqual([1, 2, 3].map(() => [0, 0, 1, 1]));
});
