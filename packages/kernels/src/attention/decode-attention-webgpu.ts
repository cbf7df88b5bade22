import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { formatShape, sequenceStruct } from '../cache/cache-format.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-host.ts';
import { decodeSource } from './decode-attention-shader.ts';
import { planDecode } from './workgroup-plan.ts';

/** The body of `decodeAttention` on WebGPU: one dispatch for a cache of one chunk, else one and another that joins the chunks. */
export function decodeAttentionOnGpu(
  gpu: WebGPUBackend,
  inputs: AttentionInputs,
  { format, window }: AttentionAttributes,
): TensorInfo {
  const [batch, variants, numAttentionHeads] = inputs.queries.shape as [number, number, number];
  const capacity = inputs.cache.shape[1]!;
  const { valueSlotWidth } = format.layout;
  const plan = planDecode(format, numAttentionHeads, variants);
  // Of the whole cache, so that a step is the same at every length: workgroups behind it leave at once.
  const splits = Math.ceil(capacity / plan.chunk);
  const single = splits === 1;
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
    workgroups: [numAttentionHeads / plan.heads, splits, batch],
    source: () => decodeSource(format, plan, { allHeads: numAttentionHeads, variants, ...window, single }),
  });
  if (single) return results!;
  const [combined] = runProgram(gpu, {
    name: 'combine_attention',
    shape: [numAttentionHeads, valueSlotWidth, plan.chunk, window.window, window.sinks],
    reads: [
      { name: 'chunkResults', type: 'f32', tensor: results! },
      { name: 'sequences', type: 'struct Sequence', tensor: inputs.sequences },
    ],
    writes: [{ name: 'results', type: 'f32', shape: resultShape, dtype: 'float32' }],
    uniforms: [{ name: 'splits', type: 'i32', value: splits }],
    workgroups: [numAttentionHeads, batch],
    source: () => ({
      constants: { allHeads: numAttentionHeads, valueSlotWidth, chunk: plan.chunk, ...window },
      code: sequenceStruct + combineChunks,
    }),
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
    let given = sequences[group.y];
    var entries = select(given.held + given.added - given.shift, 0, given.added == 0);
    if (window > 0) { entries = min(entries, window + sinks); }
    let used = (entries + chunk - 1) / chunk;
    let step = valueSlotWidth + 2;
    let begin = row * uniforms.splits * step;
    var high = -3.0e38;
    for (var split = lane; split < used; split += lanes) {
      high = max(high, chunkResults[begin + split * step + valueSlotWidth]);
    }
    highs[lane] = high;
    workgroupBarrier();
    for (var other = 0; other < lanes; other++) { high = max(high, highs[other]); }
    for (var c = lane; c < valueSlotWidth; c += lanes) {
      var sum = 0.0;
      var total = 0.0;
      for (var split = 0; split < used; split++) {
        let at = begin + split * step;
        let weight = exp(chunkResults[at + valueSlotWidth] - high);
        sum += weight * chunkResults[at + c];
        total += weight * chunkResults[at + valueSlotWidth + 1];
      }
      results[row * valueSlotWidth + c] = select(0.0, sum / total, total > 0.0);
    }
  }`;
