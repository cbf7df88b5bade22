import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { formatShape } from '../cache/cache-format.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-host.ts';
import { decodeSource } from './decode-attention-shader.ts';
import { planDecode } from './workgroup-plan.ts';

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
  const resultShape = [batch, numAttentionHeads * valueSlotWidth];
  const partialShape = [batch, numAttentionHeads, splits, valueSlotWidth + 2];
  const [results] = runProgram(gpu, {
    name: 'decode_attention',
    shape: [...formatShape(format), numAttentionHeads, variants, window.window, window.sinks, single],
    reads: [
      { name: 'queries', type: 'f32', tensor: inputs.queries },
      { name: 'cache', type: 'u32', tensor: inputs.cache },
      { name: 'sequences', type: 'struct Sequence', tensor: inputs.sequences },
    ],
    writes: [{ name: 'results', type: 'f32', shape: single ? resultShape : partialShape, dtype: 'float32' }],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'splits', type: 'i32', value: splits },
    ],
    workgroups: [numAttentionHeads / plan.heads, Math.max(1, used), batch],
    source: () => decodeSource(format, plan, { allHeads: numAttentionHeads, variants, ...window, single }),
  });
  if (single) return results!;
  const [combined] = runProgram(gpu, {
    name: 'combine_attention',
    shape: [numAttentionHeads, valueSlotWidth],
    reads: [{ name: 'chunkResults', type: 'f32', tensor: results! }],
    writes: [{ name: 'results', type: 'f32', shape: resultShape, dtype: 'float32' }],
    uniforms: [
      { name: 'splits', type: 'i32', value: splits },
      { name: 'used', type: 'i32', value: used },
    ],
    workgroups: [numAttentionHeads, batch],
    source: () => ({ constants: { allHeads: numAttentionHeads, valueSlotWidth }, code: combineChunks }),
  });
  gpu.disposeData(results!.dataId);
  return combined!;
}

/** Joins the chunks of one head: weights each by the exponential of its highest score. */
const combineChunks = `
  const lanes = 64;
  var<workgroup> highs: array<f32, lanes>;

  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let row = i32(group.y) * allHeads + i32(group.x);
    let step = valueSlotWidth + 2;
    let begin = row * uniforms.splits * step;
    var high = -3.0e38;
    for (var split = lane; split < uniforms.used; split += lanes) {
      high = max(high, chunkResults[begin + split * step + valueSlotWidth]);
    }
    highs[lane] = high;
    workgroupBarrier();
    for (var other = 0; other < lanes; other++) { high = max(high, highs[other]); }
    for (var c = lane; c < valueSlotWidth; c += lanes) {
      var sum = 0.0;
      var total = 0.0;
      for (var split = 0; split < uniforms.used; split++) {
        let at = begin + split * step;
        let weight = exp(chunkResults[at + valueSlotWidth] - high);
        sum += weight * chunkResults[at + c];
        total += weight * chunkResults[at + valueSlotWidth + 1];
      }
      results[row * valueSlotWidth + c] = select(0.0, sum / total, total > 0.0);
    }
  }`;
