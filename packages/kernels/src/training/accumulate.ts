import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type Tensor, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall } from '../fused-kernel.ts';
import { runProgram } from '../webgpu/run-program.ts';

/** Of one shape. */
interface AccumulateInputs {
  sum: TensorInfo;
  term: TensorInfo;
}

const run = defineFusedKernel<AccumulateInputs, Record<string, never>>({
  name: 'KvlrAccumulate',
  bytesRead: ({ sum }) => 8 * util.sizeFromShape(sum.shape),
  webgpu: addOnGpu,
  wasm: refuseHost,
  cpu: refuseHost,
});

/**
 * Adds float32 numbers to those of a tensor where it lies, on WebGPU; no other tensor may share its buffer. Throws 'unsupported-feature'
 * on other backends.
 */
export function accumulate(sum: Tensor, term: Tensor): void {
  for (const result of run({ sum, term }, {})) result.dispose();
}

const invocations = 256;
/** Workgroups of a row of the grid: fewer than the 65,535 that every device grants. */
const mostGroups = 32768;

function addOnGpu({ inputs, backend }: KernelCall<AccumulateInputs, object, WebGPUBackend>): TensorInfo[] {
  const { sum, term } = inputs;
  const groups = Math.ceil(util.sizeFromShape(sum.shape) / invocations);
  runProgram(backend, {
    name: 'accumulate',
    shape: [],
    reads: [{ name: 'term', type: 'f32', tensor: term }],
    writes: [{ name: 'sums', type: 'f32', tensor: sum }],
    workgroups: [Math.min(groups, mostGroups), Math.ceil(groups / mostGroups)],
    source: () => ({
      code: `
  @compute @workgroup_size(${invocations})
  fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * ${invocations}u;
    if (i < arrayLength(&sums)) { sums[i] += term[i]; }
  }`,
    }),
  });
  return [];
}

function refuseHost(): never {
  throw new KvlrError('unsupported-feature', { message: 'expected the WebGPU backend to add in place.' });
}
