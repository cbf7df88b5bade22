import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-call.ts';
import { prefillConstants, prefillShader } from './prefill-attention-shader.ts';
import { planPrefill } from './prefill-plan.ts';
import { headsOfOneSlot } from './share-of-workgroup.ts';

/** The body of `prefillAttention` on WebGPU: one dispatch. */
export function prefillAttentionOnGpu(
  gpu: WebGPUBackend,
  inputs: AttentionInputs,
  { format, window }: AttentionAttributes,
): TensorInfo {
  const [rows, variants, numAttentionHeads] = inputs.queries.shape as [number, number, number];
  const [batch, capacity] = inputs.cache.shape as [number, number];
  const tokens = rows / batch;
  const plan = planPrefill(format, variants);
  const headsTogether = headsOfOneSlot(format.layout, numAttentionHeads);
  const [results] = runProgram(gpu, {
    name: 'prefill_attention',
    constants: {
      ...prefillConstants(format, plan, numAttentionHeads, headsTogether),
      variantCount: variants,
      window: window.window,
      sinks: window.sinks,
    },
    reads: [
      { name: 'queries', type: 'f32', tensor: inputs.queries },
      { name: 'cache', type: 'u32', tensor: inputs.cache },
      { name: 'sequences', type: 'i32', tensor: inputs.sequences },
    ],
    writes: [
      {
        name: 'results',
        type: 'f32',
        shape: [rows, numAttentionHeads * format.layout.valueSlotWidth],
        dtype: 'float32',
      },
    ],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'tokens', type: 'i32', value: tokens },
    ],
    workgroups: [numAttentionHeads / headsTogether, Math.ceil((tokens * headsTogether) / plan.rows), batch],
    code: () => prefillShader(format, variants),
  });
  return results!;
}
