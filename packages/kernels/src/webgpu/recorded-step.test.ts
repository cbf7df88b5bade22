import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { add, backend, memory, ones, type Tensor, tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { afterEach, expect, it, vi } from 'vitest';
import { kernelCounters } from '../fused-kernel.ts';
import { embedTokens } from '../projection/embed-tokens.ts';
import { projectAdd, projectGreatest, projectLogits } from '../projection/projection.ts';
import { sampleAndEmbed, sampleTokens } from '../sampling/sample-tokens.ts';
import { StepState } from '../sampling/step-state.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { PackedMatrix, packMatrix } from '../weights/packed-matrix.ts';
import { recordStep, submitInOrder } from './recorded-step.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];
const [vocabulary, columns, batch] = [50, 27, 2];
const norm = { epsilon: 1e-5 };
const sampling = { temperature: 1.1, topK: 30, topP: 0.9, repetitionPenalty: 1.4, seed: 7 };
const values = (count: number, factor: number) =>
  Float32Array.from({ length: count }, (_, n) => Math.sin(factor * n * n));

afterEach(() => vi.restoreAllMocks());

/** A decoder without layers: a product with the stream, the head, the choice of a token. */
function model(maxShardBytes?: number) {
  const embedding = new PackedMatrix({
    format: 'int8',
    rows: vocabulary,
    columns,
    ...(maxShardBytes && { maxShardBytes }),
  });
  embedding.write(0, values(vocabulary * columns, 1.3));
  const matrix = packMatrix(values(columns * columns, 0.7), columns, columns, 'f32');
  const weight = ones([columns]);
  const logitsOf = (stream: Tensor) =>
    projectLogits(projectAdd(stream, matrix, stream), { weight, ...norm }, embedding);
  const dispose = () => [embedding, matrix, weight].forEach((each) => void each.dispose());
  return { embedding, logitsOf, dispose };
}

it.skipIf(skip).each([
  ['one shard', undefined, 3],
  ['several shards', 20 * 32, 8],
])(
  'samples, run again and again, what step by step is sampled, and makes nothing: %s',
  async (_, shardBytes, dispatches) => {
    await useBackend('webgpu');
    const gpu = backend() as WebGPUBackend;
    const held = memory().numTensors;
    await withoutGpuErrors(async () => {
      const { embedding, logitsOf, dispose } = model(shardBytes);
      const start = [3, 8];
      const history = () =>
        tensor2d([3, 1, 2, ...Array(7).fill(-1), 8, 9, 9, ...Array(7).fill(-1)], [batch, 10], 'int32');
      const [first, second] = [history(), history()];
      const expected: number[][] = [];
      let ids: Tensor = tensor1d(start, 'int32');
      for (let step = 0; step < 6; step++) {
        const before = ids;
        ids = tidy(() => {
          const logits = logitsOf(embedTokens(before, embedding, 1.5));
          return sampleTokens(logits, { ...sampling, step }, { ids: first, length: 3 + step });
        });
        before.dispose();
        expected.push(Array.from(await ids.data()));
      }
      const state = new StepState(batch, 4);
      const stream = tidy(() => embedTokens(tensor1d(start, 'int32'), embedding, 1.5));
      gpu.uploadToGPU(second.dataId);
      state.begin([0, 1].map((row) => ({ held: 5 + row, sampled: 0, historyLength: 3 })));
      const recorded = recordStep(gpu, () =>
        tidy(() => {
          const logits = logitsOf(stream);
          sampleAndEmbed({ logits, stream, history: second }, state, embedding, { ...sampling, scale: 1.5 });
        }),
      );
      expect(recorded.dispatches).toBe(dispatches);
      kernelCounters.reset();
      const made = (['createBindGroup', 'createBuffer'] as const).map((name) => vi.spyOn(gpu.device, name));
      const written = vi.spyOn(gpu.queue, 'writeBuffer');
      const submitted = vi.spyOn(gpu.queue, 'submit');
      const replay = (times: number) =>
        submitInOrder(gpu, (encoder) => {
          const pass = encoder.beginComputePass();
          for (let n = 0; n < times; n++) recorded.encode(pass);
          pass.end();
        });
      replay(4);
      replay(2);
      expect([...made, written].map(({ mock }) => mock.calls.length)).toEqual([0, 0, 0]);
      expect(submitted.mock.calls.length).toBeLessThanOrEqual(3);
      expect(kernelCounters.total().dispatches).toBe(6 * dispatches);
      const words = Int32Array.from((await state.words.data()) as Int32Array);
      expect([2, 3, 4, 5].map((n) => Array.from(state.tokensAt(words, n)))).toEqual(expected.slice(2));
      expect(Array.from(words.slice(0, 6 * batch))).toEqual([10, 1, 0, 11, 1, 0, ...expected[5]!, 6, 6, 9, 9]);
      expect(Array.from(await second.data())).toEqual(Array.from(await first.data()));
      for (const each of [first, second, stream, ids]) each.dispose();
      recorded.dispose();
      state.dispose();
      dispose();
    });
    expect(memory().numTensors).toBe(held);
  },
);

it.skipIf(skip).each([
  ['one shard', undefined],
  ['several shards', 20 * 32],
])('takes the greatest of what the head found to be greatest: %s', async (_, shardBytes) => {
  await useBackend('webgpu');
  const held = memory().numTensors;
  await withoutGpuErrors(async () => {
    const { embedding, dispose } = model(shardBytes);
    const norm = { weight: ones([columns]), epsilon: 1e-5 };
    const x = tensor2d(values(batch * columns, 2.1), [batch, columns]);
    const state = new StepState(batch, 2);
    const stream = tensor2d(values(batch * columns, 1), [batch, columns]);
    state.begin([0, 1].map(() => ({ held: 3, sampled: 0, historyLength: 0 })));
    const [expected, rows] = tidy(() => {
      const ids = sampleTokens(projectLogits(x, norm, embedding));
      return [ids, embedTokens(ids, embedding, 0.5)];
    });
    tidy(() => {
      const logits = { greatest: projectGreatest(x, norm, embedding) };
      sampleAndEmbed({ logits, stream }, state, embedding, { scale: 0.5 });
      expect(() => sampleAndEmbed({ logits, stream }, state, embedding, { temperature: 1 })).toThrow(/greatest/);
    });
    const words = Int32Array.from((await state.words.data()) as Int32Array);
    expect(Array.from(state.tokensAt(words, 0))).toEqual(Array.from(await expected!.data()));
    expect(Array.from(await stream.data())).toEqual(Array.from(await rows!.data()));
    for (const each of [norm.weight, x, stream, expected!, rows!]) each.dispose();
    state.dispose();
    dispose();
  });
  expect(memory().numTensors).toBe(held);
});

it.skipIf(skip)('refuses stock ops and values of the host, and then records no more', async () => {
  await useBackend('webgpu');
  const gpu = backend() as WebGPUBackend;
  const matrix = packMatrix(values(64, 1), 8, 8, 'f32');
  const onHost = tensor2d(values(8, 1), [1, 8]);
  expect(() => recordStep(gpu, () => tidy(() => void add(onHost, 1)))).toThrow(/fused kernels alone/);
  expect(() => recordStep(gpu, () => tidy(() => void projectAdd(onHost, matrix, onHost)))).toThrow(/on the device/);
  const sum = add(onHost, 1);
  expect((await sum.data())[0]).toBeCloseTo(1, 6);
  for (const each of [matrix, onHost, sum]) each.dispose();
});
