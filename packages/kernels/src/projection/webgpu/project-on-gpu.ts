import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../../register/define-fused-kernel.ts';
import { runProgram } from '../../webgpu/run-program.ts';
import type { ProjectionAttributes, ProjectionInputs } from '../projection.ts';
import { fewTokensProgram } from './few-tokens-program.ts';
import { manyTokensProgram } from './many-tokens-program.ts';

/** Up to here a token is one more sum per invocation; above, tiles in workgroup memory. */
const fewTokens = 16;

/** The WebGPU body of the projection kernels: one dispatch per shard of the matrix. */
export function projectOnGpu(call: KernelCall<ProjectionInputs, ProjectionAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const tokens = inputs.x.shape[0]!;
  const program = tokens <= fewTokens ? fewTokensProgram : manyTokensProgram;
  const result = backend.makeTensorInfo([tokens, attributes.rows], 'float32');
  attributes.shards.forEach((_, shard) => {
    runProgram(backend, program(inputs, attributes, shard, tokens, { name: 'result', type: 'f32', tensor: result }));
  });
  return result;
}
