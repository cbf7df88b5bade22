import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type Tensor, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall, webgpuAlone } from '../fused-kernel.ts';
import { forEachNumber, gridOfNumbers } from '../webgpu/grid.ts';
import { runProgram } from '../webgpu/run-program.ts';

/** Of one shape. */
interface GateInputs {
  gate: TensorInfo;
  up: TensorInfo;
  /** What comes to the product, where gradients are asked for. */
  gradient?: TensorInfo;
}

const run = defineFusedKernel<GateInputs, Record<string, never>>({
  name: 'KvlrSiluGate',
  bytesRead: ({ gate, gradient }) => (gradient ? 12 : 8) * util.sizeFromShape(gate.shape),
  webgpu: gateOnGpu,
  wasm: webgpuAlone(' for a fused gate'),
  cpu: webgpuAlone(' for a fused gate'),
});

/**
 * silu(gate) * up with silu(a) = a / (1 + exp(-a)) (SwiGLU, Shazeer 2020), in one dispatch on WebGPU. Throws 'unsupported-feature' on
 * other backends, where stock ops do.
 */
export function siluGate(gate: Tensor, up: Tensor): Tensor {
  return run({ gate, up }, {})[0]!;
}

/** The gradients of `siluGate` to gate and up, from that to the product, in one dispatch. */
export function siluGateGradients(gradient: Tensor, gate: Tensor, up: Tensor): [toGate: Tensor, toUp: Tensor] {
  const [toGate, toUp] = run({ gate, up, gradient }, {});
  return [toGate!, toUp!];
}

function gateOnGpu({ inputs, backend }: KernelCall<GateInputs, object, WebGPUBackend>): TensorInfo[] {
  const { gate, up, gradient } = inputs;
  const { shape } = gate;
  const read = (name: string, tensor: TensorInfo) => ({ name, type: 'f32', tensor }) as const;
  const write = (name: string) => ({ name, type: 'f32', shape, dtype: 'float32' }) as const;
  return runProgram(backend, {
    name: 'silu_gate',
    shape: [gradient !== undefined],
    reads: [read('gate', gate), read('up', up), ...(gradient ? [read('gradient', gradient)] : [])],
    writes: gradient ? [write('toGate'), write('toUp')] : [write('product')],
    workgroups: gridOfNumbers(util.sizeFromShape(shape)),
    source: () => ({
      code: forEachNumber(
        'gate',
        `
    let a = gate[i];
    let share = 1.0 / (1.0 + exp(-a));
    ${
      gradient
        ? `toUp[i] = gradient[i] * (a * share);
    toGate[i] = gradient[i] * up[i] * (share + a * share * (1.0 - share));`
        : 'product[i] = a * share * up[i];'
    }`,
      ),
    }),
  });
}
