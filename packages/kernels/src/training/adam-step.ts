import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type Tensor, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall, webgpuAlone } from '../fused-kernel.ts';
import { forEachNumber, gridOfNumbers } from '../webgpu/grid.ts';
import { runProgram } from '../webgpu/run-program.ts';

/** Of one parameter: all of one shape but the numbers of the step. */
export interface AdamInputs {
  value: TensorInfo;
  gradient: TensorInfo;
  /** Running means of the gradient and of its square. */
  mean: TensorInfo;
  square: TensorInfo;
  /** float32 [parameters, 3], one row for each: see `adamNumbers`. */
  numbers: TensorInfo;
}

export interface AdamAttributes {
  /** The parameter's row of the numbers. */
  row: number;
  /** How much of the running means is kept: beta 1 and beta 2. */
  meanDecay: number;
  squareDecay: number;
  /** Added to the root of the mean square. */
  epsilon: number;
  /** Writes the next value and running means to the buffers of the ones before, which no other tensor may share. */
  inPlace?: boolean;
}

/** What changes from step to step, of one parameter. */
export interface AdamNumbers {
  /** Size of a full step, divided by what the running mean is to be divided by. */
  rate: number;
  /** What the running mean of the square is divided by. */
  squareCorrection: number;
  /** What is left of the value before the step. */
  kept: number;
}

/** A row of the numbers of a step. */
export function adamNumbers({ rate, squareCorrection, kept }: AdamNumbers): number[] {
  return [rate, squareCorrection, kept];
}

const run = defineFusedKernel<AdamInputs, AdamAttributes>({
  name: 'KvlrAdamStep',
  bytesRead: ({ value }) => 16 * util.sizeFromShape(value.shape),
  webgpu: stepOnGpu,
  wasm: webgpuAlone(' for a fused step of Adam'),
  cpu: webgpuAlone(' for a fused step of Adam'),
});

/**
 * A step of Adam (Kingma and Ba 2015, algorithm 1; with `kept` below 1 that of Loshchilov and Hutter 2019) for one parameter in one
 * dispatch on WebGPU: a product of `rate` and mean / (sqrt(square / squareCorrection) + epsilon) is taken off. Returns the next value
 * and running means, of the parameter's shape; in place they are tensors of the same buffers. Throws 'unsupported-feature' on other
 * backends, where stock ops do.
 */
export function adamStep(
  inputs: { [Name in keyof AdamInputs]: Tensor },
  attributes: AdamAttributes,
): { value: Tensor; mean: Tensor; square: Tensor } {
  const [value, mean, square] = run(inputs, attributes);
  return { value: value!, mean: mean!, square: square! };
}

const state = ['value', 'mean', 'square'] as const;

function stepOnGpu({ inputs, attributes, backend }: KernelCall<AdamInputs, AdamAttributes, WebGPUBackend>) {
  const { row, inPlace = false, ...fixed } = attributes;
  const { shape } = inputs.value;
  const read = (name: keyof AdamInputs) => ({ name, type: 'f32', tensor: inputs[name] }) as const;
  const next = (name: (typeof state)[number]) => (inPlace ? name : `${name}After`);
  const results = runProgram(backend, {
    name: 'adam_step',
    shape: [inPlace],
    reads: [read('gradient'), read('numbers'), ...(inPlace ? [] : state.map(read))],
    writes: state.map((name) =>
      inPlace ? read(name) : { name: next(name), type: 'f32', shape, dtype: 'float32' as const },
    ),
    uniforms: [
      { name: 'row', type: 'u32', value: row },
      ...(['epsilon', 'meanDecay', 'squareDecay'] as const).map(
        (name) => ({ name, type: 'f32', value: fixed[name] }) as const,
      ),
    ],
    workgroups: gridOfNumbers(util.sizeFromShape(shape)),
    source: () => ({
      code: forEachNumber(
        'value',
        `
    let rate = numbers[3u * uniforms.row];
    let squareCorrection = numbers[3u * uniforms.row + 1u];
    let kept = numbers[3u * uniforms.row + 2u];
    let g = gradient[i];
    let m = mean[i] * uniforms.meanDecay + g * (1.0 - uniforms.meanDecay);
    let s = square[i] * uniforms.squareDecay + g * g * (1.0 - uniforms.squareDecay);
    ${next('mean')}[i] = m;
    ${next('square')}[i] = s;
    let spread = sqrt(s / squareCorrection) + uniforms.epsilon;
    ${next('value')}[i] = value[i] * kept - m / spread * rate;`,
      ),
    }),
  });
  if (!inPlace) return results;
  // They are given back as results of their own: held once more.
  return results.map(({ dataId, shape, dtype }) => {
    backend.incRef(dataId);
    return { dataId, shape, dtype };
  });
}
