import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import {
  add,
  backend,
  concat,
  div,
  matMul,
  memory,
  mul,
  ones,
  type Scalar,
  softmax,
  square,
  sub,
  sum,
  type Tensor2D,
  tensor1d,
  tensor2d,
  tidy,
  transpose,
} from '@tensorflow/tfjs-core';
import { expect, it, vi } from 'vitest';
import { embedTokens } from '../projection/embed-tokens.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { adamStep } from '../training/adam-step.ts';
import { packMatrix } from '../weights/packed-matrix.ts';
import { RepeatedStep } from './repeated-step.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];
const values = (count: number, factor: number) =>
  Float32Array.from({ length: count }, (_, n) => Math.sin(factor * n * n));

/** Products, a softmax, reductions, joins and constants of the host: a number, and something to step along. */
function pass(weight: Tensor2D, input: Tensor2D): { loss: Scalar; gradient: Tensor2D } {
  const hidden = softmax(mul(matMul(input, weight), 0.5)) as Tensor2D;
  const joined = concat([hidden, transpose(transpose(input))], 1);
  const scale = tensor1d([1, 2, 3, 4, 5, 6, 7, 8, 9, 1]);
  const loss = div(sum(square(sub(mul(joined, scale), 0.1))), 7) as Scalar;
  return { loss, gradient: matMul(input, hidden, true) };
}

it.skipIf(skip)('gives, run again and again, the numbers of the same calls, and makes nothing', async () => {
  await useBackend('webgpu');
  const gpu = backend() as WebGPUBackend;
  const batches = [0, 1, 2, 3].map((n) => values(5 * 6, 0.3 + n));
  const rates = [0.1, 0.05, 0.2, 0.01];
  const constants = { row: 0, meanDecay: 0.9, squareDecay: 0.99, epsilon: 1e-12 };
  const start = () => ({
    value: tensor2d(values(24, 0.9), [6, 4]),
    mean: tensor2d(values(24, 0.1), [6, 4]),
    square: ones([6, 4]) as Tensor2D,
  });
  const stepOf = (state: ReturnType<typeof start>, input: Tensor2D, numbers: Tensor2D, inPlace: boolean) => {
    const { loss, gradient } = pass(state.value, input);
    return { loss, next: adamStep({ ...state, gradient, numbers }, { ...constants, inPlace }) };
  };
  const held = memory().numTensors;
  await withoutGpuErrors(async () => {
    const expected: number[] = [];
    let plain: ReturnType<typeof start> = start();
    for (const [n, batch] of batches.entries()) {
      const before = plain;
      const { loss, next } = tidy(() =>
        stepOf(before, tensor2d(batch, [5, 6]), tensor2d([rates[n]!, 0.9, 1], [1, 3]), false),
      );
      for (const each of Object.values(before)) each.dispose();
      plain = next as typeof plain;
      expected.push((await loss.data())[0]!);
      loss.dispose();
    }
    const state = start();
    const [input, numbers, second] = [
      tensor2d(batches[0]!, [5, 6]),
      tensor2d([0, 0, 0], [1, 3]),
      tensor2d(batches[1]!, [5, 6]),
    ];
    const written = Object.values(state);
    for (const tensor of [...written, input, numbers, second]) gpu.uploadToGPU(tensor.dataId);
    const beforeRecording = memory().numTensors;
    const step = new RepeatedStep({
      body: () => tidy(() => stepOf(state, input, numbers, true).loss),
      written,
      results: 4,
    });
    expect(memory().numTensors).toBe(beforeRecording);
    const made = (['createBindGroup', 'createBuffer'] as const).map((name) => vi.spyOn(gpu.device, name));
    const submitted = vi.spyOn(gpu.queue, 'submit');
    const run = (n: number) =>
      step.run(({ write, copy }) => {
        write(Float32Array.of(rates[n]!, 0.9, 1), numbers);
        if (n === 1) copy(second, input);
        else write(batches[n]!, input);
      });
    run(0);
    expect(Array.from(await state.value.data())).not.toEqual(Array.from(values(24, 0.9)));
    for (const n of [1, 2, 3]) run(n);
    expect(() => run(0)).toThrow(/read after 4 steps/);
    expect(made[0]!.mock.calls.length).toBe(0);
    expect(submitted.mock.calls.length).toBeLessThanOrEqual(6);
    expect(await step.read()).toEqual(expected);
    for (const name of ['value', 'mean', 'square'] as const) {
      expect(Array.from(await state[name].data())).toEqual(Array.from(await plain[name].data()));
    }
    vi.restoreAllMocks();
    step.dispose();
    for (const each of [...written, ...Object.values(plain), input, numbers, second]) each.dispose();
  });
  expect(memory().numTensors).toBe(held);
});

it.skipIf(skip)('refuses what cannot be repeated, and leaves the backend as it was', async () => {
  await useBackend('webgpu');
  const onDevice = tensor1d([1, 2, 3]);
  const sums = add(onDevice, 1);
  const record = (read: () => void) => {
    const body = (): Scalar => {
      read();
      return sum(sums);
    };
    return () => new RepeatedStep({ body: () => tidy(body), written: [], results: 1 });
  };
  const held = memory();
  expect(record(() => sums.dataSync())).toThrow(/got a call of readSync/);
  expect(record(() => sums.dataToGPU())).toThrow(/got a call of readToGPU/);
  expect(memory()).toMatchObject({ numTensors: held.numTensors, numDataBuffers: held.numDataBuffers });
  expect(Array.from(await add(sums, 1).data())).toEqual([3, 4, 5]);
});

it.skipIf(skip)('records fused kernels between stock ops', async () => {
  await useBackend('webgpu');
  const table = packMatrix(values(8 * 4, 1.1), 8, 4, 'f32');
  const ids = tensor1d([1, 5], 'int32');
  const body = () => tidy(() => sum(mul(embedTokens(ids, table, 2), 3)) as Scalar);
  const step = new RepeatedStep({ body, written: [], results: 2 });
  const plain = body();
  step.run(({ write }) => write(Int32Array.of(2, 7), ids));
  const [received] = await step.read();
  expect(received).not.toBe((await plain.data())[0]);
  const again = body();
  expect(received).toBe((await again.data())[0]);
  step.dispose();
  for (const each of [table, ids, plain, again]) each.dispose();
});
