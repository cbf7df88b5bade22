import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import {
  add,
  backend,
  matMul,
  mul,
  relu,
  reshape,
  sum,
  type Tensor,
  tensor,
  tidy,
  transpose,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testedBackends } from '../testing/tested-backends.ts';
import { selectBackend } from './select-backend.ts';

const { skip } = (await testedBackends()).find(({ backend }) => backend === 'webgpu')!;

/** Ops of several ranks, with and without the uniforms of their own, on tensors that come and go. */
function compute(seed: number): Tensor {
  return tidy(() => {
    const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i));
    const x = tensor(numbers(2 * 3 * 40 * 20), [2, 3, 40, 20]);
    const y = tensor(numbers(2 * 3 * 20 * 40), [2, 3, 20, 40]);
    const product = relu(matMul(x, y));
    const turned = transpose(add(product, tensor(numbers(40), [40])), [0, 2, 1, 3]);
    return sum(mul(turned, reshape(product, [2, 40, 3, 40])), [0, 2]);
  });
}

describe.skipIf(skip)('bindings on WebGPU', () => {
  beforeAll(async () => {
    await selectBackend({ backend: 'webgpu' });
  });

  it('are made once for work that comes again, which gives what other backends give', async () => {
    const { device } = backend() as WebGPUBackend;
    const makeGroup = device.createBindGroup.bind(device);
    let made = 0;
    Object.assign(device, {
      createBindGroup: (descriptor: GPUBindGroupDescriptor) => {
        made += 1;
        return makeGroup(descriptor);
      },
    });
    const madeBy: number[] = [];
    const read = async (seed: number) => {
      const before = made;
      const result = compute(seed);
      const values = await result.data();
      result.dispose();
      madeBy.push(made - before);
      return Array.from(values);
    };
    const received: number[][] = [];
    for (const seed of [0, 1, 2, 3, 4, 5]) received.push(await read(seed));
    Reflect.deleteProperty(device, 'createBindGroup');
    expect(madeBy[0]).toBeGreaterThan(4);
    expect(madeBy.slice(-2)).toEqual([0, 0]);

    await selectBackend({ backend: 'cpu' });
    for (const [seed, values] of received.entries()) {
      const expected = await compute(seed).data();
      values.forEach((value, index) => {
        expect(Math.abs(value - expected[index]!)).toBeLessThan(1e-3);
      });
    }
  });
});
