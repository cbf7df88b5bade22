import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { GpuRead } from '../webgpu/gpu-program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import { type AppendAttributes, type AppendInputs, appendSizes } from './append-call.ts';
import { rotationShader } from './rotation-table.ts';
import { slotWriter } from './slot-shader.ts';

const lanes = 64;

/** The body of `rotateAndAppend` on WebGPU: one workgroup for each slot and each rotated query head of a row. */
export function rotateAndAppendOnGpu(
  gpu: WebGPUBackend,
  inputs: AppendInputs,
  attributes: AppendAttributes,
): TensorInfo {
  const { format, window, numAttentionHeads, headDim, tokens } = attributes;
  const { layout, dtype } = format;
  const sizes = appendSizes(inputs, attributes);
  const latent = layout.keys === 'latent';
  const reads: GpuRead[] = [
    { name: 'projected', type: 'f32', tensor: inputs.projected },
    { name: 'sequences', type: 'i32', tensor: inputs.sequences },
    { name: 'rotation', type: 'f32', tensor: inputs.rotation },
  ];
  if (latent) {
    reads.push({ name: 'keyEncoder', type: 'f32', tensor: inputs.keyEncoder! });
    reads.push({ name: 'queryEncoder', type: 'f32', tensor: inputs.queryEncoder! });
  }
  const slotsAndHeads = layout.keySlots + layout.valueSlots + numAttentionHeads * sizes.variants;
  const [, queries] = runProgram(gpu, {
    name: 'rotate_and_append',
    constants: {
      heads: numAttentionHeads,
      headDim,
      half: headDim / 2,
      keySlots: layout.keySlots,
      keySlotWidth: layout.keySlotWidth,
      keySlotWords: format.keySlotWords,
      valueSlots: layout.valueSlots,
      valueSlotWidth: layout.valueSlotWidth,
      valueSlotWords: format.valueSlotWords,
      entryWords: format.entryWords,
      queryWidth: sizes.queryWidth,
      keyWidth: sizes.keyWidth,
      rowWidth: sizes.rowWidth,
      slotWidth: sizes.slotWidth,
      variants: sizes.variants,
      window: window.window,
      sinks: window.sinks,
      dtype,
      keys: layout.keys,
      ring: attributes.ring,
    },
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
    code: () => shader(attributes),
  });
  return queries!;
}

const placeInRing = `
    // The last tokens alone stay; earlier ones of the same stretch would race with them.
    if (position >= sinks && position < end - window) { return; }
    var place = position;
    if (position >= sinks) { place = sinks + (position - sinks) % window; }`;

function shader({ format, headDim, ring }: AppendAttributes): string {
  const { layout, dtype } = format;
  const latent = layout.keys === 'latent';
  const widest = Math.max(layout.keySlotWidth, layout.valueSlotWidth);
  const loadKeys = {
    stock: `for (var c = lane; c < keySlotWidth; c += lanes) { slot[c] = rotated(keySource + key * headDim, c, position); }`,
    rebuilt: `for (var c = lane; c < keySlotWidth; c += lanes) { slot[c] = projected[keySource + key * keySlotWidth + c]; }`,
    latent: `
      var sums = array<f32, ${Math.ceil(layout.keySlotWidth / lanes)}>();
      for (var source = 0; source < keyWidth; source += headDim) {
        for (var c = lane; c < headDim; c += lanes) { head[c] = rotated(keySource + source, c, position); }
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
      }`,
  }[layout.keys];
  const writeQuery = latent
    ? `
      for (var c = lane; c < headDim; c += lanes) { head[c] = rotated(source + h * headDim, c, angle); }
      workgroupBarrier();
      for (var c = lane; c < slotWidth; c += lanes) {
        var sum = 0.0;
        for (var i = 0; i < headDim; i++) { sum += head[i] * queryEncoder[(h * headDim + i) * slotWidth + c]; }
        queries[start + c] = uniforms.scale * sum;
      }`
    : `
      for (var c = lane; c < slotWidth; c += lanes) {
        queries[start + c] = uniforms.scale * rotated(source + h * headDim, c, angle);
      }`;
  return `
  const lanes = ${lanes};
  var<workgroup> slot: array<f32, ${widest}>;
  ${latent ? `var<workgroup> head: array<f32, ${headDim}>;` : ''}
  ${dtype === 'int8' || dtype === 'int4' ? 'var<workgroup> lowest: array<f32, lanes>; var<workgroup> highest: array<f32, lanes>;' : ''}
  ${rotationShader}
  fn rotated(begin: i32, c: i32, position: i32) -> f32 {
    let j = c % half;
    let r = turn(position, j);
    let first = projected[begin + j];
    let second = projected[begin + half + j];
    return select(second * r.x + first * r.y, first * r.x - second * r.y, c < half);
  }
  ${slotWriter(dtype)}
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let item = i32(group.x);
    let row = i32(group.y);
    let sequence = row / uniforms.tokens;
    let held = sequences[3 * sequence];
    let end = held + sequences[3 * sequence + 1];
    let position = held + row % uniforms.tokens;
    if (position >= end) { return; }
    let source = row * rowWidth;
    if (item >= keySlots + valueSlots) {
      let query = item - keySlots - valueSlots;
      let h = query % heads;
      let variant = query / heads;
      let angle = select(position, min(position, sinks + window - 1), variant == 1);
      let start = ((row * variants + variant) * heads + h) * slotWidth;
      ${writeQuery}
      return;
    }
    ${ring ? placeInRing : 'let place = position - sequences[3 * sequence + 2];'}
    let entry = (sequence * uniforms.capacity + place) * entryWords;
    let keySource = source + queryWidth;
    if (item < keySlots) {
      let key = item;
      ${loadKeys}
      workgroupBarrier();
      writeSlot(entry + key * keySlotWords, keySlotWidth, lane);
    } else {
      let value = item - keySlots;
      for (var c = lane; c < valueSlotWidth; c += lanes) {
        slot[c] = projected[keySource + keyWidth + value * valueSlotWidth + c];
      }
      workgroupBarrier();
      writeSlot(entry + keySlots * keySlotWords + value * valueSlotWords, valueSlotWidth, lane);
    }
  }`;
}
