import { BLOCK_TOKENS } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../../fused-kernel.ts';
import {
  type BlockMoveAttributes,
  type BlockMoveInputs,
  type BlockSlotCodec,
  MOVE_LANES,
  type MoveDirection,
  moveOnGpu,
  moveOnHost,
} from '../blocks/block-moves.ts';
import { decodeAdaptedSlot, encodeAdaptedSlot } from './adapted-codec.ts';
import type { AdaptedFormat } from './adapted-format.ts';
import { adaptedConstants, adaptedReader, adaptedWriter, tableReader } from './adapted-shader.ts';

interface AdaptedMoveInputs extends BlockMoveInputs {
  /** The tables of the format, int32. */
  tables: TensorInfo;
}

export type AdaptedMoveAttributes = BlockMoveAttributes<AdaptedFormat>;

const kernelOf = (direction: MoveDirection, name: string) =>
  defineFusedKernel<AdaptedMoveInputs, AdaptedMoveAttributes>({
    name,
    bytesRead: ({ entries, blocks }, { longest }) =>
      4 *
      longest *
      (direction === 'pack'
        ? entries.shape[0]! * BLOCK_TOKENS * entries.shape[2]!
        : blocks.shape[0]! * blocks.shape[2]!),
    webgpu: ({ inputs, attributes, backend }) => moveAdaptedOnGpu(direction, backend, inputs, attributes),
    wasm: ({ inputs, attributes, backend }) =>
      moveOnHost(direction, backend, inputs, attributes, slotCodec(attributes.format)),
    cpu: ({ inputs, attributes, backend }) =>
      moveOnHost(direction, backend, inputs, attributes, slotCodec(attributes.format)),
  });
const pack = kernelOf('pack', 'KvlrPackAdaptedBlocks');
const unpack = kernelOf('unpack', 'KvlrUnpackAdaptedBlocks');

type MoveTensors = { [Name in keyof AdaptedMoveInputs]: Tensor };

/** Packs runs of 32 tokens, whose keys are rotated back to what they were before RoPE, into blocks in fitted bases, in place. */
export function packAdaptedBlocks(inputs: MoveTensors, attributes: AdaptedMoveAttributes): void {
  if (attributes.longest > 0) pack(inputs, attributes);
}

/** Unpacks runs of blocks into entries, whose places fall behind positions by the runs' shifts, keys rotated, in place. */
export function unpackAdaptedBlocks(inputs: MoveTensors, attributes: AdaptedMoveAttributes): void {
  if (attributes.longest > 0) unpack(inputs, attributes);
}

function slotCodec(format: AdaptedFormat): BlockSlotCodec {
  const sides = (keys: Float32Array, values: Float32Array) => [['keys', keys] as const, ['values', values] as const];
  return {
    encode(words, at, slot, keys, values) {
      for (const [side, rows] of sides(keys, values)) encodeAdaptedSlot(words, at, format, [side, slot], rows);
    },
    decode(words, at, slot, keys, values) {
      for (const [side, rows] of sides(keys, values)) decodeAdaptedSlot(words, at, format, [side, slot], rows);
    },
  };
}

/** The body on WebGPU: a workgroup for each slot of a block, keys and values. */
function moveAdaptedOnGpu(
  direction: MoveDirection,
  gpu: WebGPUBackend,
  inputs: AdaptedMoveInputs,
  attributes: AdaptedMoveAttributes,
): TensorInfo[] {
  const { format, entryFormat } = attributes;
  return moveOnGpu(gpu, inputs, attributes, {
    ...{ direction, name: `${direction}_adapted_blocks`, groups: 2 * format.slots },
    shape: [format.dtype, format.slots, format.width, format.blockWords],
    reads: [{ name: 'tables', type: 'u32', tensor: inputs.tables }],
    constants: {
      ...adaptedConstants(format),
      slotWords: entryFormat.keySlotWords,
      half: format.width / 2,
      channelsPerLane: Math.ceil(format.width / MOVE_LANES),
    },
    code: [tableReader, ...(direction === 'pack' ? [adaptedWriter, packMain] : [adaptedReader, unpackMain])],
  });
}

/** Where a workgroup works: a slot of the keys, or behind them of the values, of one block. */
const begin = `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let sequence = i32(group.z);
    let run = runs[sequence];
    if (i32(group.y) >= run.count) { return; }
    let block = run.firstBlock + i32(group.y);
    let at = (sequence * uniforms.places + block) * blockWords;
    let firstPosition = exactFirst + 32 * block;
    let entry = (sequence * uniforms.capacity + firstPosition - run.shift) * entryWords + i32(group.x) * slotWords;
    let isKey = i32(group.x) < slots;
    let start = i32(group.x) * sideWords;`;

const packMain = `
  var<workgroup> numbers: array<f32, slotWidth>;

  fn halfAt(slot: i32, c: i32) -> f32 { return unpack2x16float(entries[slot + c / 2])[c % 2]; }
  ${begin}
    let factor = rotation[0] * rotation[0];
    var channelWords = array<array<u32, 8>, channelsPerLane>();
    for (var n = 0; n < 32; n++) {
      workgroupBarrier();
      for (var j = lane; j < half; j += lanes) {
        let u = halfAt(entry + n * entryWords, j);
        let v = halfAt(entry + n * entryWords, j + half);
        let r = select(vec2<f32>(1.0, 0.0), rotationAt(firstPosition + n, j) / (factor * factor), isKey);
        numbers[j] = u * r.x + v * r.y - tableAt(start + meanAt + j);
        numbers[j + half] = v * r.x - u * r.y - tableAt(start + meanAt + j + half);
      }
      workgroupBarrier();
      for (var i = 0; i < channelsPerLane; i++) {
        let c = lane + i * lanes;
        if (c >= slotWidth) { continue; }
        let bits = bitsOf(tables[start + c]);
        if (bits == 0) { continue; }
        var y = 0.0;
        for (var k = 0; k < slotWidth; k++) { y += tableAt(start + forwardAt + c * slotWidth + k) * numbers[k]; }
        var low = 0;
        var high = (1 << u32(bits)) - 1;
        while (low < high) {
          let middle = (low + high) / 2;
          if (y < tableAt(thresholdsAt + (1 << u32(bits)) - 2 + middle)) { high = middle; } else { low = middle + 1; }
        }
        placeCode(&channelWords[i], u32(low), bits, n);
      }
    }
    for (var i = 0; i < channelsPerLane; i++) {
      let c = lane + i * lanes;
      if (c >= slotWidth) { continue; }
      let channel = tables[start + c];
      for (var word = 0; word < bitsOf(channel); word++) { blocks[at + wordOf(channel) + word] = channelWords[i][word]; }
    }
  }`;

const unpackMain = `
  var<workgroup> numbers: array<f32, slotWidth>;

  fn numberAt(start: i32, i: i32) -> f32 {
    var x = tableAt(start + meanAt + i);
    for (var c = 0; c < slotWidth; c++) { x += tableAt(start + backwardAt + i * slotWidth + c) * numbers[c]; }
    return x;
  }

  fn rotatedAt(start: i32, i: i32, position: i32, isKey: bool) -> f32 {
    let x = numberAt(start, i);
    if (!isKey) { return x; }
    let j = i % half;
    let r = rotationAt(position, j);
    let other = numberAt(start, select(j, j + half, i < half));
    return x * r.x + select(other, -other, i < half) * r.y;
  }
  ${begin}
    for (var n = 0; n < 32; n++) {
      workgroupBarrier();
      for (var c = lane; c < slotWidth; c += lanes) {
        let channel = tables[start + c];
        let bits = bitsOf(channel);
        var level = 0.0;
        if (bits > 0) { level = levelAt(at + wordOf(channel), bits, n); }
        numbers[c] = level;
      }
      workgroupBarrier();
      for (var c = 2 * lane; c < slotWidth; c += 2 * lanes) {
        let position = firstPosition + n;
        let both = vec2<f32>(rotatedAt(start, c, position, isKey), rotatedAt(start, c + 1, position, isKey));
        entries[entry + n * entryWords + c / 2] = pack2x16float(clamp(both, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
      }
    }
  }`;
