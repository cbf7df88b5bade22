import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type Tensor, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall } from '../fused-kernel.ts';
import { runProgram } from '../webgpu/run-program.ts';

/** Of one parameter, all of one shape. */
export interface AdamInputs {
  value: TensorInfo;
  gradient: TensorInfo;
  /** Running means of the gradient and of its square. */
  mean: TensorInfo;
  square: TensorInfo;
}

export interface AdamNumbers {
  /** How much of the running means is kept: beta 1 and beta 2. */
  meanDecay: number;
  squareDecay: number;
  /** What the running mean of the square is divided by. */
  squareCorrection: number;
  /** Size of a full step, divided by what the running mean is to be divided by. */
  rate: number;
  /** Added to the root of the mean square. */
  epsilon: number;
  /** What is left of the value before the step. */
  kept: number;
}

const run = defineFusedKernel<AdamInputs, AdamNumbers>({
  name: 'KvlrAdamStep',
  bytesRead: ({ value }) => 16 * util.sizeFromShape(value.shape),
  webgpu: stepOnGpu,
  wasm: refuseHost,
  cpu: refuseHost,
});

/**
 * A step of Adam (Kingma and Ba 2015, algorithm 1; with `kept` below 1 that of Loshchilov and Hutter 2019) for one parameter in one
 * dispatch on WebGPU. Returns the next value and running means, new tensors of the parameter's shape; a product of `rate` and
 * mean / (sqrt(square / squareCorrection) + epsilon) is taken off. Throws 'unsupported-feature' on other backends, where stock ops do.
 */
export function adamStep(
  inputs: { [Name in keyof AdamInputs]: Tensor },
  numbers: AdamNumbers,
): { value: Tensor; mean: Tensor; square: Tensor } {
  const [value, mean, square] = run(inputs, numbers);
  return { value: value!, mean: mean!, square: square! };
}

const invocations = 256;
/** Workgroups of a row of the grid: fewer than the 65,535 that every device grants. */
const mostGroups = 32768;

function stepOnGpu({ inputs, attributes, backend }: KernelCall<AdamInputs, AdamNumbers, WebGPUBackend>): TensorInfo[] {
  const { shape } = inputs.value;
  const groups = Math.ceil(util.sizeFromShape(shape) / invocations);
  const write = (name: string) => ({ name, type: 'f32', shape, dtype: 'float32' }) as const;
  return runProgram(backend, {
    name: 'adam_step',
    shape: [],
    reads: (['value', 'gradient', 'mean', 'square'] as const).map((name) => ({
      name,
      type: 'f32',
      tensor: inputs[name],
    })),
    writes: [write('nextValue'), write('nextMean'), write('nextSquare')],
    uniforms: (Object.keys(attributes) as (keyof AdamNumbers)[])
      .sort()
      .map((name) => ({ name, type: 'f32', value: attributes[name] })),
    workgroups: [Math.min(groups, mostGroups), Math.ceil(groups / mostGroups)],
    source: () => ({
      code: `
  @compute @workgroup_size(${invocations})
  fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.x + id.y * groups.x * ${invocations}u;
    if (i >= arrayLength(&value)) { return; }
    let g = gradient[i];
    let m = mean[i] * uniforms.meanDecay + g * (1.0 - uniforms.meanDecay);
    let s = square[i] * uniforms.squareDecay + g * g * (1.0 - uniforms.squareDecay);
    nextMean[i] = m;
    nextSquare[i] = s;
    let spread = sqrt(s / uniforms.squareCorrection) + uniforms.epsilon;
    nextValue[i] = value[i] * uniforms.kept - m / spread * uniforms.rate;
  }`,
    }),
  });
}

function refuseHost(): never {
  throw new KvlrError('unsupported-feature', { message: 'expected the WebGPU backend for a fused step of Adam.' });
}
