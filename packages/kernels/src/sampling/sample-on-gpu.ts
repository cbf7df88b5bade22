import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../register/define-fused-kernel.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { SamplingAttributes, SamplingInputs } from './sampling-call.ts';
import { samplingShader } from './sampling-shader.ts';

/** The WebGPU body of sampling: one dispatch, one workgroup per row of the batch. */
export function sampleOnGpu(call: KernelCall<SamplingInputs, SamplingAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const { logits, history } = inputs;
  const [batch, vocabulary] = logits.shape as [number, number];
  const hasPenalty = history !== undefined && attributes.repetitionPenalty !== 1;
  const capacity = history?.shape[1] ?? 0;
  const [result, ...others] = runProgram(backend, {
    name: 'sample_tokens',
    constants: { vocabulary, capacity, hasPenalty },
    reads: [{ name: 'logits', type: 'f32', tensor: logits }],
    writes: [
      { name: 'result', type: 'i32', shape: [batch], dtype: 'int32' },
      ...(history ? [{ name: 'history', type: 'i32' as const, tensor: history }] : []),
      ...(hasPenalty
        ? [{ name: 'adjusted', type: 'f32' as const, shape: [batch, vocabulary], dtype: 'float32' as const }]
        : []),
    ],
    uniforms: [
      { name: 'temperature', type: 'f32', value: attributes.temperature },
      { name: 'topP', type: 'f32', value: attributes.topP },
      { name: 'penalty', type: 'f32', value: attributes.repetitionPenalty },
      { name: 'topK', type: 'u32', value: attributes.topK },
      { name: 'stepKey', type: 'u32', value: attributes.stepKey },
      { name: 'length', type: 'i32', value: attributes.length },
    ],
    workgroups: [batch],
    code: () => samplingShader(capacity > 0, hasPenalty),
  });
  if (hasPenalty) backend.disposeData(others[1]!.dataId);
  return result!;
}
