import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, engine, memory, mul, tensor, tensor1d } from '@tensorflow/tfjs-core';
import { expect, it } from 'vitest';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import type { GpuProgram } from './gpu-program.ts';
import { runProgram } from './run-program.ts';

const [, , { skip }] = (await testedBackends()) as [object, object, { skip: string | false }];

const code = () => `
  @compute @workgroup_size(4)
  fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = i32(id.x);
    if (i < count) { result[i + uniforms.position] = x[i] * uniforms.factor; }
  }`;

it.skipIf(skip)('writes a new tensor, and an existing one in place, in order with stock ops', async () => {
  await useBackend('webgpu');
  const gpu = backend() as WebGPUBackend;
  await withoutGpuErrors(async () => {
    const target = tensor1d([1, 2, 3, 4, 5, 6]);
    expect(Array.from(await target.data())).toEqual([1, 2, 3, 4, 5, 6]);
    const x = tensor([1, 2, 3]);
    const program = (write: GpuProgram['writes'][number], position: number): GpuProgram => ({
      name: 'test_scale',
      constants: { count: 3 },
      reads: [{ name: 'x', type: 'f32', tensor: x }],
      writes: [write],
      uniforms: [
        { name: 'position', type: 'i32', value: position },
        { name: 'factor', type: 'f32', value: 2 },
      ],
      workgroups: [1],
      code,
    });
    const doubled = mul(target, 2);
    runProgram(gpu, program({ name: 'result', type: 'f32', tensor: target }, 2));
    const later = mul(target, 2);
    const [fresh] = runProgram(gpu, program({ name: 'result', type: 'f32', shape: [3], dtype: 'float32' }, 0));
    const made = engine().makeTensorFromTensorInfo(fresh!);
    expect(Array.from(await doubled.data())).toEqual([2, 4, 6, 8, 10, 12]);
    expect(Array.from(await later.data())).toEqual([2, 4, 4, 8, 12, 12]);
    expect(Array.from(await target.data())).toEqual([1, 2, 2, 4, 6, 6]);
    expect(Array.from(await made.data())).toEqual([2, 4, 6]);
    for (const each of [target, x, doubled, later, made]) each.dispose();
  });
  expect(memory().numTensors).toBe(0);
});

it.skipIf(skip)('shows a broken shader as a validation error', async () => {
  await useBackend('webgpu');
  const broken = withoutGpuErrors(async () => {
    const write = { name: 'result', type: 'f32', shape: [1], dtype: 'float32' } as const;
    const settings = { constants: {}, reads: [], writes: [{ ...write, shape: [1] }], workgroups: [1] as [number] };
    runProgram(backend() as WebGPUBackend, { name: 'test_broken', ...settings, code: () => 'fn main() { nothing; }' });
  });
  await expect(broken).rejects.toThrow();
});
