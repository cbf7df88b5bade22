import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, engine, memory, mul, type Tensor, tensor, tensor1d } from '@tensorflow/tfjs-core';
import { expect, it, vi } from 'vitest';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import type { GpuProgram } from './program.ts';
import { runProgram } from './run-program.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];

/** result[i + position] = x[i] * factor for the first `count` numbers of x. */
function scale(x: Tensor, count: number, write: GpuProgram['writes'][number], position: number): GpuProgram {
  return {
    name: 'test_scale',
    shape: [count],
    reads: [{ name: 'x', type: 'f32', tensor: x }],
    writes: [write],
    uniforms: [
      { name: 'position', type: 'i32', value: position },
      { name: 'factor', type: 'f32', value: 2 },
    ],
    workgroups: [1],
    source: () => ({
      constants: { count, everything: count === 3 },
      code: `
  @compute @workgroup_size(4)
  fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = i32(id.x);
    if (i < count) { result[i + uniforms.position] = x[i] * uniforms.factor; }
  }`,
    }),
  };
}

it.skipIf(skip)('writes a new tensor, and an existing one in place, in order with stock ops', async () => {
  await useBackend('webgpu');
  const gpu = backend() as WebGPUBackend;
  await withoutGpuErrors(async () => {
    const target = tensor1d([1, 2, 3, 4, 5, 6]);
    expect(Array.from(await target.data())).toEqual([1, 2, 3, 4, 5, 6]);
    const x = tensor([1, 2, 3]);
    const doubled = mul(target, 2);
    runProgram(gpu, scale(x, 3, { name: 'result', type: 'f32', tensor: target }, 2));
    const later = mul(target, 2);
    const [fresh] = runProgram(gpu, scale(x, 3, { name: 'result', type: 'f32', shape: [3], dtype: 'float32' }, 0));
    const made = engine().makeTensorFromTensorInfo(fresh!);
    expect(Array.from(await doubled.data())).toEqual([2, 4, 6, 8, 10, 12]);
    expect(Array.from(await later.data())).toEqual([2, 4, 4, 8, 12, 12]);
    expect(Array.from(await target.data())).toEqual([1, 2, 2, 4, 6, 6]);
    expect(Array.from(await made.data())).toEqual([2, 4, 6]);
    for (const each of [target, x, doubled, later, made]) each.dispose();
  });
  expect(memory().numTensors).toBe(0);
});

it.skipIf(skip)('builds a pipeline once for each shape, and a bind group once for the same buffers', async () => {
  await useBackend('webgpu');
  const gpu = backend() as WebGPUBackend;
  const pipelines = vi.spyOn(gpu.device, 'createComputePipeline');
  const groups = vi.spyOn(gpu.device, 'createBindGroup');
  await withoutGpuErrors(async () => {
    const [x, target] = [tensor1d([1, 2, 3, 4]), tensor1d([0, 0, 0, 0])];
    const write = { name: 'result', type: 'f32', tensor: target } as const;
    // Two rounds: the first reads back, so that the pool has the uniform buffers of both.
    for (const count of [1, 2, 1, 2]) {
      runProgram(gpu, scale(x, count, write, 0));
      expect((await target.data())[count - 1]).toBe(2 * count);
    }
    for (const each of [x, target]) each.dispose();
  });
  expect(pipelines.mock.calls.map(([{ label }]) => label)).toEqual(['kvlr_test_scale', 'kvlr_test_scale']);
  expect(groups.mock.calls.length).toBe(2);
  vi.restoreAllMocks();
});

it.skipIf(skip)('runs in the workgroup memory that every GPU grants', async () => {
  await useBackend('webgpu');
  expect((backend() as WebGPUBackend).device.limits.maxComputeWorkgroupStorageSize).toBe(16384);
});

it.skipIf(skip)('shows a broken shader as a validation error', async () => {
  await useBackend('webgpu');
  const broken = withoutGpuErrors(async () => {
    const write = { name: 'result', type: 'f32', shape: [1], dtype: 'float32' } as const;
    const settings = { shape: [], reads: [], writes: [{ ...write, shape: [1] }], workgroups: [1] as const };
    const source = () => ({ code: 'fn main() { nothing; }' });
    runProgram(backend() as WebGPUBackend, { name: 'test_broken', ...settings, source });
  });
  await expect(broken).rejects.toThrow();
});
