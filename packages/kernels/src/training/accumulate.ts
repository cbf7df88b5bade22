import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type Tensor, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall, webgpuAlone } from '../fused-kernel.ts';
import { forEachNumber, gridOfNumbers } from '../webgpu/grid.ts';
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
  wasm: webgpuAlone(' to add in place'),
  cpu: webgpuAlone(' to add in place'),
});

/**
 * Adds float32 numbers to those of a tensor where it lies, on WebGPU; no other tensor may share its buffer. Throws 'unsupported-feature'
 * on other backends.
 */
export function accumulate(sum: Tensor, term: Tensor): void {
  for (const result of run({ sum, term }, {})) result.dispose();
}

function addOnGpu({ inputs, backend }: KernelCall<AccumulateInputs, object, WebGPUBackend>): TensorInfo[] {
  const { sum, term } = inputs;
  runProgram(backend, {
    name: 'accumulate',
    shape: [],
    reads: [{ name: 'term', type: 'f32', tensor: term }],
    writes: [{ name: 'sums', type: 'f32', tensor: sum }],
    workgroups: gridOfNumbers(util.sizeFromShape(sum.shape)),
    source: () => ({
      code: forEachNumber('sums', 'sums[i] += term[i];'),
    }),
  });
  return [];
}
