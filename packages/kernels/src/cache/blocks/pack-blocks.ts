import { BLOCK_TOKENS } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../../fused-kernel.ts';
import { blockSlotCodec } from './block-codec.ts';
import { blockShape } from './block-format.ts';
import { type BlockMoveAttributes, type BlockMoveInputs, MOVE_LANES, moveOnGpu, moveOnHost } from './block-moves.ts';
import { blockConstants, codeWriter, hadamardShader, levelShader } from './block-shader.ts';

const pack = defineFusedKernel<BlockMoveInputs, BlockMoveAttributes>({
  name: 'KvlrPackBlocks',
  bytesRead: ({ entries }, { longest }) => 4 * entries.shape[0]! * longest * BLOCK_TOKENS * entries.shape[2]!,
  webgpu: ({ inputs, attributes, backend }) => packOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) =>
    moveOnHost('pack', backend, inputs, attributes, blockSlotCodec(attributes.format)),
  cpu: ({ inputs, attributes, backend }) =>
    moveOnHost('pack', backend, inputs, attributes, blockSlotCodec(attributes.format)),
});

/** Packs runs of 32 tokens, whose keys are rotated back to what they were before RoPE, into blocks, in place. */
export function packBlocks(inputs: { [Name in keyof BlockMoveInputs]: Tensor }, attributes: BlockMoveAttributes): void {
  if (attributes.longest > 0) pack(inputs, attributes);
}

/** The body on WebGPU: a workgroup for each slot of a block. */
function packOnGpu(gpu: WebGPUBackend, inputs: BlockMoveInputs, attributes: BlockMoveAttributes): TensorInfo[] {
  const { format } = attributes;
  return moveOnGpu(gpu, inputs, attributes, {
    ...{ direction: 'pack', name: 'pack_blocks', shape: blockShape(format), groups: format.slots },
    constants: {
      ...blockConstants(format),
      most: 2 ** format.bits - 1,
      channelsPerLane: Math.ceil(format.width / MOVE_LANES),
    },
    code: [levelShader(format), codeWriter(format), tokensOfBlock, hadamardShader, packMain],
  });
}

const tokensOfBlock = `
  var<workgroup> numbers: array<f32, slotWidth>;
  var<workgroup> partials: array<vec2<f32>, lanes>;

  fn numberAt(c: i32) -> f32 { return numbers[c]; }

  /** Of the slot's keys or values in an entry, number c. */
  fn halfAt(slot: i32, c: i32) -> f32 { return unpack2x16float(entries[slot + c / 2])[c % 2]; }

  /** Numbers j and j + half of a key before RoPE. */
  fn keyPair(slot: i32, position: i32, j: i32) -> vec2<f32> {
    let r = rotationAt(position, j);
    let length = rotation[0] * rotation[0];
    let first = halfAt(slot, j);
    let second = halfAt(slot, j + half);
    return vec2<f32>(first * r.x + second * r.y, second * r.x - first * r.y) / (length * length);
  }

  fn keyCode(value: f32, header: vec2<f32>) -> u32 {
    let inverse = select(0.0, 1.0 / header.x, header.x > 0.0);
    return u32(clamp(round((value - header.y) * inverse), 0.0, f32(most)));
  }

  fn headerOf(low: f32, high: f32) -> u32 {
    return pack2x16float(clamp(vec2<f32>((high - low) / f32(most), low), vec2<f32>(-65504.0), vec2<f32>(65504.0)));
  }`;

const packMain = `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let slot = i32(group.x);
    let sequence = i32(group.z);
    let run = runs[sequence];
    if (i32(group.y) >= run.count) { return; }
    let block = run.firstBlock + i32(group.y);
    let at = (sequence * uniforms.places + block) * blockWords + slot * slotWords;
    let firstPosition = exactFirst + 32 * block;
    let entry = (sequence * uniforms.capacity + firstPosition - run.shift) * entryWords;
    let firstKey = entry + slot * keySlotWords;
    let firstValue = entry + slots * keySlotWords + slot * valueSlotWords;

    for (var j = lane; j < half; j += lanes) {
      var low = keyPair(firstKey, firstPosition, j);
      var high = low;
      for (var n = 1; n < 32; n++) {
        let pair = keyPair(firstKey + n * entryWords, firstPosition + n, j);
        low = min(low, pair);
        high = max(high, pair);
      }
      let headers = vec2<u32>(headerOf(low.x, high.x), headerOf(low.y, high.y));
      blocks[at + j] = headers.x;
      blocks[at + j + half] = headers.y;
      // Codes belong to the rounded scale and offset, the ones that decoding sees.
      let first = unpack2x16float(headers.x);
      let second = unpack2x16float(headers.y);
      var firstWords = array<u32, codeWords>();
      var secondWords = array<u32, codeWords>();
      for (var n = 0; n < 32; n++) {
        let pair = keyPair(firstKey + n * entryWords, firstPosition + n, j);
        placeCode(&firstWords, keyCode(pair.x, first), n);
        placeCode(&secondWords, keyCode(pair.y, second), n);
      }
      for (var word = 0; word < codeWords; word++) {
        blocks[at + keyCodes + j * codeWords + word] = firstWords[word];
        blocks[at + keyCodes + (j + half) * codeWords + word] = secondWords[word];
      }
    }

    var channelWords = array<array<u32, codeWords>, channelsPerLane>();
    var gain = 0.0;
    for (var n = 0; n < 32; n++) {
      workgroupBarrier();
      for (var c = lane; c < slotWidth; c += lanes) { numbers[c] = halfAt(firstValue + n * entryWords, c); }
      workgroupBarrier();
      var squares = 0.0;
      for (var c = 0; c < slotWidth; c++) { squares += numbers[c] * numbers[c]; }
      let inverse = select(0.0, inverseSqrt(squares / f32(slotWidth)), squares > 0.0);
      var sums = vec2<f32>();
      for (var i = 0; i < channelsPerLane; i++) {
        let c = lane + i * lanes;
        if (c < slotWidth) {
          let value = hadamardAt(c);
          let code = levelCodeOf(value * inverse);
          let level = levelOf(code);
          sums += vec2<f32>(level * value, level * level);
          placeCode(&channelWords[i], code, n);
        }
      }
      partials[lane] = sums;
      workgroupBarrier();
      if (lane == 0) {
        for (var other = 1; other < lanes; other++) { sums += partials[other]; }
        let next = clamp(sums.x / sums.y, -65504.0, 65504.0);
        if (n % 2 == 1) { blocks[at + gains + n / 2] = pack2x16float(vec2<f32>(gain, next)); }
        gain = next;
      }
    }
    for (var i = 0; i < channelsPerLane; i++) {
      let c = lane + i * lanes;
      if (c < slotWidth) {
        for (var word = 0; word < codeWords; word++) {
          blocks[at + valueCodes + c * codeWords + word] = channelWords[i][word];
        }
      }
    }
  }`;
