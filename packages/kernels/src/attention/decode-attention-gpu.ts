import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { GpuRead } from '../webgpu/gpu-program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-call.ts';
import { combineShader, decodeConstants, decodeShader } from './decode-attention-shader.ts';
import { planDecode } from './decode-plan.ts';

/** The body of `decodeAttention` on WebGPU: one dispatch for a cache of one chunk, else one and another that joins the chunks. */
export function decodeAttentionOnGpu(
  gpu: WebGPUBackend,
  inputs: AttentionInputs,
  { format, window, longest }: AttentionAttributes,
): TensorInfo {
  const [batch, variants, numAttentionHeads] = inputs.queries.shape as [number, number, number];
  const capacity = inputs.cache.shape[1]!;
  const { valueSlotWidth } = format.layout;
  const plan = planDecode(format, numAttentionHeads, variants);
  const used = Math.ceil(longest / plan.chunk);
  const single = used <= 1;
  // The same size at every step: tfjs's pool keeps a buffer for each size that it has seen.
  const splits = Math.ceil(capacity / plan.chunk);
  const reads: GpuRead[] = [
    { name: 'queries', type: 'f32', tensor: inputs.queries },
    { name: 'cache', type: 'u32', tensor: inputs.cache },
    { name: 'sequences', type: 'i32', tensor: inputs.sequences },
  ];
  const resultShape = [batch, numAttentionHeads * valueSlotWidth];
  const partialShape = [batch, numAttentionHeads, splits, valueSlotWidth + 2];
  const [results] = runProgram(gpu, {
    name: single ? 'decode_attention' : 'decode_attention_chunks',
    constants: {
      ...decodeConstants(format, plan, numAttentionHeads),
      variantCount: variants,
      window: window.window,
      sinks: window.sinks,
    },
    reads,
    writes: [{ name: 'results', type: 'f32', shape: single ? resultShape : partialShape, dtype: 'float32' }],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'splits', type: 'i32', value: splits },
    ],
    workgroups: [numAttentionHeads / plan.heads, Math.max(1, used), batch],
    code: () => decodeShader(format, variants, single),
  });
  if (single) return results!;
  const [combined] = runProgram(gpu, {
    name: 'combine_attention',
    constants: { allHeads: numAttentionHeads, valueSlotWidth },
    reads: [{ name: 'chunkResults', type: 'f32', tensor: results! }],
    writes: [{ name: 'results', type: 'f32', shape: resultShape, dtype: 'float32' }],
    uniforms: [
      { name: 'splits', type: 'i32', value: splits },
      { name: 'used', type: 'i32', value: used },
    ],
    workgroups: [numAttentionHeads, batch],
    code: () => combineShader,
  });
  gpu.disposeData(results!.dataId);
  return combined!;
}
