import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { type Tensor, type TensorInfo, util } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../fused-kernel.ts';
import type { GpuRead, GpuSource } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import { formatShape, sequenceStruct, slotStruct } from './cache-format.ts';
import { type AppendAttributes, appendOnHost, appendSizes, type SlotAppendInputs } from './rotate-and-append-host.ts';
import { rotationAt } from './rotation-table.ts';
import { slotWriter } from './slot-codec-webgpu.ts';

const run = defineFusedKernel<SlotAppendInputs, AppendAttributes>({
  name: 'KvlrRotateAndAppend',
  bytesRead: ({ keyEncoder, queryEncoder }) =>
    4 * [keyEncoder, queryEncoder].reduce((sum, part) => sum + (part ? util.sizeFromShape(part.shape) : 0), 0),
  webgpu: ({ inputs, attributes, backend }) => appendOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => appendOnHost(backend, inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => appendOnHost(backend, inputs, attributes),
});

/**
 * Rotates new keys (Su et al. 2021, half-split layout), encodes them where the layout is latent, converts them and the new
 * values to the cache's dtype and writes both behind what each sequence holds, in place, in one dispatch. 'rebuilt' keys are
 * written as they come. Returns the queries, rotated, encoded where latent, and divided by sqrt(headDim), float32
 * [batch * tokens, variants, numAttentionHeads, width].
 *
 * With a window the places behind the sinks are a ring, and positions run on. Relative to the tokens of the window, RoPE
 * is right as it stands; the sinks would move ever farther away. The second variant of a query is therefore rotated for the
 * position that it has in the cache, at most sinks + window - 1 (as StreamingLLM does by rotating keys anew), and read by
 * attention for the sinks alone.
 *
 * With `slots` every slot's entries lie by themselves, as many as that slot holds.
 */
export function rotateAndAppend(
  inputs: { [Name in keyof SlotAppendInputs]: Tensor },
  attributes: AppendAttributes,
): Tensor {
  return run(inputs, attributes)[0]!;
}

const lanes = 64;

/** One workgroup for each slot and each rotated query head of a row. */
function appendOnGpu(gpu: WebGPUBackend, inputs: SlotAppendInputs, attributes: AppendAttributes): TensorInfo {
  const { format, window, ring, numAttentionHeads, headDim, tokens } = attributes;
  const { layout } = format;
  const sizes = appendSizes(inputs, attributes);
  const reads: GpuRead[] = [
    { name: 'projected', type: 'f32', tensor: inputs.projected },
    { name: 'sequences', type: 'struct Sequence', tensor: inputs.sequences },
    { name: 'rotation', type: 'f32', tensor: inputs.rotation },
  ];
  if (layout.keys === 'latent') {
    reads.push({ name: 'keyEncoder', type: 'f32', tensor: inputs.keyEncoder! });
    reads.push({ name: 'queryEncoder', type: 'f32', tensor: inputs.queryEncoder! });
  }
  const apart = inputs.slots !== undefined;
  if (inputs.slots) reads.push({ name: 'slots', type: 'struct Slot', tensor: inputs.slots });
  const slotsAndHeads = layout.keySlots + layout.valueSlots + numAttentionHeads * sizes.variants;
  const [, queries] = runProgram(gpu, {
    name: 'rotate_and_append',
    shape: [
      ...formatShape(format),
      ...[numAttentionHeads, headDim, sizes.keyWidth, sizes.variants, window.window, window.sinks, ring, apart],
    ],
    reads,
    writes: [
      { name: 'cache', type: 'u32', tensor: inputs.cache },
      { name: 'queries', type: 'f32', shape: sizes.queryShape, dtype: 'float32' },
    ],
    uniforms: [
      { name: 'tokens', type: 'i32', value: tokens },
      { name: 'capacity', type: 'i32', value: sizes.capacity },
      { name: 'scale', type: 'f32', value: 1 / Math.sqrt(headDim) },
    ],
    workgroups: [slotsAndHeads, sizes.rows],
    source: () => appendSource(attributes, sizes, apart),
  });
  return queries!;
}

function appendSource(attributes: AppendAttributes, sizes: ReturnType<typeof appendSizes>, apart: boolean): GpuSource {
  const { format, window, ring, numAttentionHeads, headDim } = attributes;
  const { layout, dtype, keySlotWords, valueSlotWords, entryWords } = format;
  const { keySlots, keySlotWidth, valueSlots, valueSlotWidth } = layout;
  const latent = layout.keys === 'latent';
  return {
    constants: {
      lanes,
      heads: numAttentionHeads,
      headDim,
      half: headDim / 2,
      ...{ keySlots, keySlotWidth, keySlotWords, valueSlots, valueSlotWidth, valueSlotWords, entryWords },
      ...{ queryWidth: sizes.queryWidth, keyWidth: sizes.keyWidth, rowWidth: sizes.rowWidth },
      ...{ slotWidth: sizes.slotWidth, variants: sizes.variants, window: window.window, sinks: window.sinks, ring },
    },
    code: `
  ${sequenceStruct}
  var<workgroup> slot: array<f32, ${Math.max(keySlotWidth, valueSlotWidth)}>;
  var<workgroup> head: array<f32, ${latent ? headDim : 1}>;
  ${rotationAt}
  ${rotatedShader}
  ${slotWriter(dtype)}
  ${{ stock: loadStockKey, latent: loadLatentKey, rebuilt: loadRebuiltKey }[layout.keys]}
  ${latent ? writeLatentQuery : writeQuery}
  ${apart ? slotStruct + ownEntry : ''}
  ${main(apart)}`,
  };
}

/** WGSL: `rotated(begin, c, position)`. Knows `projected`, `half` and `rotationAt`. */
export const rotatedShader = `
  /** Number c of the head that begins at a place of projected, rotated. */
  fn rotated(begin: i32, c: i32, position: i32) -> f32 {
    let j = c % half;
    let r = rotationAt(position, j);
    let first = projected[begin + j];
    let second = projected[begin + half + j];
    return select(second * r.x + first * r.y, first * r.x - second * r.y, c < half);
  }`;

const loadStockKey = `
  fn loadKey(keys: i32, key: i32, position: i32, lane: i32) {
    for (var c = lane; c < keySlotWidth; c += lanes) { slot[c] = rotated(keys + key * headDim, c, position); }
  }`;

const loadRebuiltKey = `
  fn loadKey(keys: i32, key: i32, position: i32, lane: i32) {
    for (var c = lane; c < keySlotWidth; c += lanes) { slot[c] = projected[keys + key * keySlotWidth + c]; }
  }`;

const loadLatentKey = `
  const sumsPerLane = (keySlotWidth + lanes - 1) / lanes;

  fn loadKey(keys: i32, key: i32, position: i32, lane: i32) {
    var sums = array<f32, sumsPerLane>();
    for (var source = 0; source < keyWidth; source += headDim) {
      for (var c = lane; c < headDim; c += lanes) { head[c] = rotated(keys + source, c, position); }
      workgroupBarrier();
      var place = 0;
      for (var c = lane; c < keySlotWidth; c += lanes) {
        for (var i = 0; i < headDim; i++) {
          sums[place] += head[i] * keyEncoder[(source + i) * keySlots * keySlotWidth + key * keySlotWidth + c];
        }
        place++;
      }
      workgroupBarrier();
    }
    var place = 0;
    for (var c = lane; c < keySlotWidth; c += lanes) {
      slot[c] = sums[place];
      place++;
    }
  }`;

const writeQuery = `
  fn writeQuery(begin: i32, h: i32, position: i32, start: i32, lane: i32) {
    for (var c = lane; c < slotWidth; c += lanes) {
      queries[start + c] = uniforms.scale * rotated(begin, c, position);
    }
  }`;

const writeLatentQuery = `
  fn writeQuery(begin: i32, h: i32, position: i32, start: i32, lane: i32) {
    for (var c = lane; c < headDim; c += lanes) { head[c] = rotated(begin, c, position); }
    workgroupBarrier();
    for (var c = lane; c < slotWidth; c += lanes) {
      var sum = 0.0;
      for (var i = 0; i < headDim; i++) { sum += head[i] * queryEncoder[(h * headDim + i) * slotWidth + c]; }
      queries[start + c] = uniforms.scale * sum;
    }
  }`;

/** WGSL: the first word of a slot's entry for a position. */
const ownEntry = `
  fn ownEntry(sequence: i32, slot: i32, position: i32) -> i32 {
    let own = slots[sequence * keySlots + slot];
    return (own.first + position - own.shift) * (keySlotWords + valueSlotWords);
  }`;

const main = (apart: boolean) => `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let item = i32(group.x);
    let row = i32(group.y);
    let sequence = row / uniforms.tokens;
    let given = sequences[sequence];
    let end = given.held + given.added;
    let position = given.held + row % uniforms.tokens;
    if (position >= end) { return; }
    let source = row * rowWidth;
    if (item >= keySlots + valueSlots) {
      let query = item - keySlots - valueSlots;
      let h = query % heads;
      let variant = query / heads;
      let rotatedFor = select(position, min(position, sinks + window - 1), variant == 1);
      writeQuery(source + h * headDim, h, rotatedFor, ((row * variants + variant) * heads + h) * slotWidth, lane);
      return;
    }
    var place = position - given.shift;
    if (ring) {
      // The last tokens alone stay; earlier ones of the same stretch would race with them.
      if (position >= sinks && position < end - window) { return; }
      place = position;
      if (position >= sinks) { place = sinks + (position - sinks) % max(1, window); }
    }
    let entry = (sequence * uniforms.capacity + place) * entryWords;
    let keys = source + queryWidth;
    if (item < keySlots) {
      loadKey(keys, item, position, lane);
      workgroupBarrier();
      writeSlot(${apart ? 'ownEntry(sequence, item, position)' : 'entry + item * keySlotWords'}, keySlotWidth, lane);
    } else {
      let value = item - keySlots;
      for (var c = lane; c < valueSlotWidth; c += lanes) {
        slot[c] = projected[keys + keyWidth + value * valueSlotWidth + c];
      }
      workgroupBarrier();
      let at = ${apart ? 'ownEntry(sequence, value, position) + keySlotWords' : 'entry + keySlots * keySlotWords + value * valueSlotWords'};
      writeSlot(at, valueSlotWidth, lane);
    }
  }`;
