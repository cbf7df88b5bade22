import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import {
  add,
  backend,
  concat,
  memory,
  mul,
  softmax,
  square,
  sum,
  type Tensor2D,
  tensor2d,
} from '@tensorflow/tfjs-core';
import { expect, it, vi } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { floats, WindowPass } from './window-pass.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];
const values = (seed: number) => Float32Array.from({ length: 12 }, (_, n) => Math.sin(seed + n * n));

it.skipIf(skip)('gives, recorded, what operations one by one give, with several windows under way', async () => {
  await selectBackend({ backend: 'webgpu' });
  const weights = tensor2d(values(9), [3, 4]);
  const settings = {
    inputs: [floats(3, 4)],
    body: (window: unknown) => {
      const x = window as Tensor2D;
      return [concat([softmax(mul(x, weights)), square(x)], 1), sum(add(x, 0.5), 0), x.clone()];
    },
  };
  const [recorded, plain] = [new WindowPass(settings), new WindowPass({ ...settings, recordFrom: 9 })];
  const expected: Float32Array[][] = [];
  for (const seed of [1, 2, 3, 4]) expected.push(await plain.run(values(seed)));
  const held = memory().numTensors;
  const first = await recorded.run(values(1));
  const made = vi.spyOn((backend() as WebGPUBackend).device, 'createBindGroup');
  const others = await Promise.all([2, 3, 4].map((seed) => recorded.run(values(seed))));
  expect([first, ...others]).toEqual(expected);
  const onDevice = tensor2d(values(3), [3, 4]);
  expect(await recorded.run(onDevice)).toEqual(expected[2]);
  expect(made.mock.calls.length).toBe(0);
  vi.restoreAllMocks();
  onDevice.dispose();
  const last = recorded.run(values(2));
  recorded.dispose();
  expect(await last).toEqual(expected[1]);
  expect(await recorded.run(values(4))).toEqual(expected[3]);
  expect(memory().numTensors).toBe(held);
  plain.dispose();
  weights.dispose();
});
