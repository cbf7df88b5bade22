import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type Tensor, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall, webgpuAlone } from '../fused-kernel.ts';
import { gridOf } from '../webgpu/grid.ts';
import { runProgram } from '../webgpu/run-program.ts';

interface NormInputs {
  /** [..., width] */
  x: TensorInfo;
  /** [width] */
  scale: TensorInfo;
}

interface NormGradientInputs extends NormInputs {
  /** What comes to the norm, of x's shape. */
  gradient: TensorInfo;
}

interface NormAttributes {
  epsilon: number;
}

/** The kernel under which the gradient of `rmsNorm` is to be registered; its attribute is `epsilon`. */
export const rmsNormKernel = 'KvlrRmsNorm';

const normalise = defineFusedKernel<NormInputs, NormAttributes>({
  name: rmsNormKernel,
  bytesRead: ({ x }) => 4 * util.sizeFromShape(x.shape),
  webgpu: normOnGpu,
  wasm: webgpuAlone(' for a fused norm'),
  cpu: webgpuAlone(' for a fused norm'),
});

const differentiate = defineFusedKernel<NormGradientInputs, NormAttributes>({
  name: `${rmsNormKernel}Gradient`,
  bytesRead: ({ x }) => 8 * util.sizeFromShape(x.shape),
  webgpu: normOnGpu,
  wasm: webgpuAlone(' for a fused norm'),
  cpu: webgpuAlone(' for a fused norm'),
});

/**
 * scale * x / sqrt(mean(x^2) + epsilon), x [..., width], scale [width], the mean over the last axis (RMSNorm, Zhang and Sennrich 2019), in
 * one dispatch on WebGPU. Throws 'unsupported-feature' on other backends, where stock ops do.
 */
export function rmsNorm(x: Tensor, scale: Tensor, epsilon: number): Tensor {
  return normalise({ x, scale }, { epsilon })[0]!;
}

/**
 * The gradient of `rmsNorm` to x, from that to its result, in one dispatch: with r = 1 / sqrt(mean(x^2) + epsilon) and h = gradient *
 * scale it is r h - r^3 x mean(x h).
 */
export function rmsNormGradient(gradient: Tensor, x: Tensor, scale: Tensor, epsilon: number): Tensor {
  return differentiate({ gradient, x, scale }, { epsilon })[0]!;
}

/** Invocations of a row. */
const lanes = 64;

function normOnGpu({
  inputs,
  attributes,
  backend,
}: KernelCall<NormInputs & Partial<NormGradientInputs>, NormAttributes, WebGPUBackend>): TensorInfo[] {
  const { x, scale, gradient } = inputs;
  const width = x.shape.at(-1)!;
  const rows = util.sizeFromShape(x.shape) / width;
  const given = Object.entries({ x, scale, gradient }).flatMap(([name, tensor]) =>
    tensor ? [{ name, type: 'f32' as const, tensor }] : [],
  );
  return runProgram(backend, {
    name: 'rms_norm',
    shape: [width, gradient !== undefined],
    reads: given,
    writes: [{ name: 'result', type: 'f32', shape: x.shape, dtype: 'float32' }],
    uniforms: [
      { name: 'rows', type: 'u32', value: rows },
      { name: 'epsilon', type: 'f32', value: attributes.epsilon },
    ],
    workgroups: gridOf(rows),
    source: () => ({
      code: `
  const width = ${width}u;
  var<workgroup> sums: array<vec2<f32>, ${lanes}>;

  @compute @workgroup_size(${lanes})
  fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
          @builtin(local_invocation_index) lane: u32) {
    let row = id.x + id.y * groups.x;
    if (row >= uniforms.rows) { return; }
    let first = row * width;
    // Of x^2, and of x times what comes to it.
    var sum = vec2<f32>(0.0);
    for (var i = lane; i < width; i += ${lanes}u) {
      let value = x[first + i];
      sum += vec2<f32>(value * value, ${gradient ? `value * (gradient[first + i] * scale[i])` : '0.0'});
    }
    sums[lane] = sum;
    for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
      workgroupBarrier();
      if (lane < half) { sums[lane] += sums[lane + half]; }
    }
    workgroupBarrier();
    let means = sums[0] / f32(width);
    let root = inverseSqrt(means.x + uniforms.epsilon);
    for (var i = lane; i < width; i += ${lanes}u) {
      let value = x[first + i];
      result[first + i] = ${
        gradient ? `root * (gradient[first + i] * scale[i] - value * root * root * means.y)` : `value * root * scale[i]`
      };
    }
  }`,
    }),
  });
}
