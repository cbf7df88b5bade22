import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { formatOfSlot, formatShape } from '../cache/cache-format.ts';
import { traitsOf } from '../webgpu/device-traits.ts';
import type { GpuRead } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, SlotAttentionInputs } from './attention-host.ts';
import { prefillSource } from './prefill-attention-shader.ts';
import { rowElement, writeFour } from './prefill-rows-shader.ts';
import {
  headsOfOneSlot,
  PREFILL_LANES,
  PREFILL_TILE,
  planPrefill,
  prefillSplits,
  wordsAtOnce,
} from './workgroup-plan.ts';

/** The body of `prefillAttention` on WebGPU: one dispatch where there are rows enough, else one and another that joins its parts. */
export function prefillAttentionOnGpu(
  gpu: WebGPUBackend,
  inputs: SlotAttentionInputs,
  { format, window, longest }: AttentionAttributes,
): TensorInfo {
  const [rows, variants, numAttentionHeads] = inputs.queries.shape as [number, number, number];
  const capacity = inputs.cache.shape[1]!;
  const batch = inputs.sequences.shape[0]!;
  const { keySlotWidth, valueSlotWidth } = format.layout;
  const { slots, biases } = inputs;
  const [apart, biased] = [slots !== undefined, biases !== undefined];
  const entryFormat = apart ? formatOfSlot(format) : format;
  const tokens = rows / batch;
  const plan = planPrefill(entryFormat);
  const headsTogether = headsOfOneSlot(format.layout, numAttentionHeads);
  const slotGroups = (numAttentionHeads / headsTogether) * plan.valueBlocks;
  const rowBlocks = Math.ceil((tokens * headsTogether) / PREFILL_TILE.rows);
  const seen = window.window > 0 ? Math.min(longest, window.sinks + window.window + tokens) : longest;
  const splits = prefillSplits(seen, slotGroups * rowBlocks * batch, traitsOf(gpu));
  const single = splits === 1;
  const valueFours = Math.ceil(valueSlotWidth / 4);
  const reads: GpuRead[] = [
    { name: 'queries', type: rowElement(keySlotWidth), tensor: inputs.queries },
    { name: 'cache', type: wordsAtOnce(entryFormat) === 4 ? 'vec4<u32>' : 'u32', tensor: inputs.cache },
    { name: 'sequences', type: 'struct Sequence', tensor: inputs.sequences },
  ];
  if (slots) reads.push({ name: 'slots', type: 'struct Slot', tensor: slots });
  if (biases) reads.push({ name: 'biases', type: 'f32', tensor: biases });
  const [attended] = runProgram(gpu, {
    name: 'prefill_attention',
    shape: [...formatShape(format), numAttentionHeads, variants, window.window, window.sinks, single, apart, biased],
    reads,
    writes: [
      {
        name: 'results',
        type: single ? rowElement(valueSlotWidth) : 'vec4<f32>',
        shape: single
          ? [rows, numAttentionHeads * valueSlotWidth]
          : [rows, numAttentionHeads, splits, 4 * valueFours + 4],
        dtype: 'float32',
      },
    ],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'tokens', type: 'i32', value: tokens },
      { name: 'splits', type: 'i32', value: splits },
    ],
    workgroups: [slotGroups, rowBlocks, batch * splits],
    source: () => {
      const { keySlots } = format.layout;
      const given = { allHeads: numAttentionHeads, headsTogether, variants, ...window, single, apart, biased };
      return prefillSource(entryFormat, plan, { ...given, allKeySlots: keySlots });
    },
  });
  if (single) return attended!;
  const [joined] = runProgram(gpu, {
    name: 'join_prefill_attention',
    shape: [numAttentionHeads, valueSlotWidth],
    reads: [{ name: 'parts', type: 'vec4<f32>', tensor: attended! }],
    writes: [
      {
        name: 'results',
        type: rowElement(valueSlotWidth),
        shape: [rows, numAttentionHeads * valueSlotWidth],
        dtype: 'float32',
      },
    ],
    uniforms: [{ name: 'splits', type: 'i32', value: splits }],
    workgroups: [Math.ceil((numAttentionHeads * valueFours) / PREFILL_LANES), rows],
    source: () => ({
      constants: { lanes: PREFILL_LANES, allHeads: numAttentionHeads, valueSlotWidth, valueFours },
      code: `${writeFour(valueSlotWidth)} ${joinParts}`,
    }),
  });
  gpu.disposeData(attended!.dataId);
  return joined!;
}

/**
 * A lane joins four columns of a head's parts: fours of sums, and behind them the highest score and the sum of weights of a part, by whose
 * exponential it is weighted.
 */
const joinParts = `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let place = i32(group.x) * lanes + i32(index);
    if (place >= allHeads * valueFours) { return; }
    let row = i32(group.y) * allHeads + place / valueFours;
    let q = place % valueFours;
    let begin = row * uniforms.splits;
    var high = -1.0e38;
    for (var n = begin; n < begin + uniforms.splits; n++) {
      high = max(high, parts[n * (valueFours + 1) + valueFours].x);
    }
    var sum = vec4<f32>();
    var total = 0.0;
    for (var n = begin; n < begin + uniforms.splits; n++) {
      let part = parts[n * (valueFours + 1) + valueFours];
      let weight = exp(part.x - high);
      sum += weight * parts[n * (valueFours + 1) + q];
      total += weight * part.y;
    }
    writeFour(row, q, select(vec4<f32>(), sum / total, total > 0.0));
  }`;
