import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../../fused-kernel.ts';
import { blockSlotCodec } from './block-codec.ts';
import { blockShape } from './block-format.ts';
import { type BlockMoveAttributes, type BlockMoveInputs, moveOnGpu, moveOnHost } from './block-moves.ts';
import { blockConstants, codeReader, hadamardShader, levelShader } from './block-shader.ts';

const unpack = defineFusedKernel<BlockMoveInputs, BlockMoveAttributes>({
  name: 'KvlrUnpackBlocks',
  bytesRead: ({ blocks }, { longest }) => 4 * blocks.shape[0]! * longest * blocks.shape[2]!,
  webgpu: ({ inputs, attributes, backend }) => unpackOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) =>
    moveOnHost('unpack', backend, inputs, attributes, blockSlotCodec(attributes.format)),
  cpu: ({ inputs, attributes, backend }) =>
    moveOnHost('unpack', backend, inputs, attributes, blockSlotCodec(attributes.format)),
});

/** Unpacks runs of blocks into entries, whose places fall behind positions by the runs' shifts, keys rotated, in place. */
export function unpackBlocks(
  inputs: { [Name in keyof BlockMoveInputs]: Tensor },
  attributes: BlockMoveAttributes,
): void {
  if (attributes.longest > 0) unpack(inputs, attributes);
}

/** The body on WebGPU: a workgroup for each slot of a block. */
function unpackOnGpu(gpu: WebGPUBackend, inputs: BlockMoveInputs, attributes: BlockMoveAttributes): TensorInfo[] {
  const { format } = attributes;
  return moveOnGpu(gpu, inputs, attributes, {
    ...{ direction: 'unpack', name: 'unpack_blocks', shape: blockShape(format), groups: format.slots },
    constants: blockConstants(format),
    code: [levelShader(format), codeReader(format), numbersOfToken, hadamardShader, unpackMain],
  });
}

const numbersOfToken = `
  var<workgroup> numbers: array<f32, slotWidth>;
  fn numberAt(c: i32) -> f32 { return numbers[c]; }

  /** Number c of a key, rotated. */
  fn keyAt(at: i32, position: i32, n: i32, c: i32) -> f32 {
    let j = c % half;
    let r = rotationAt(position, j);
    let headers = array<vec2<f32>, 2>(unpack2x16float(blocks[at + j]), unpack2x16float(blocks[at + j + half]));
    let first = headers[0].y + headers[0].x * f32(codeAt(at + keyCodes + j * codeWords, n));
    let second = headers[1].y + headers[1].x * f32(codeAt(at + keyCodes + (j + half) * codeWords, n));
    return select(second * r.x + first * r.y, first * r.x - second * r.y, c < half);
  }

  fn halves(first: f32, second: f32) -> u32 {
    return pack2x16float(clamp(vec2<f32>(first, second), vec2<f32>(-65504.0), vec2<f32>(65504.0)));
  }`;

const unpackMain = `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let slot = i32(group.x);
    let sequence = i32(group.z);
    let run = runs[sequence];
    if (i32(group.y) >= run.count) { return; }
    let block = run.firstBlock + i32(group.y);
    let at = (sequence * uniforms.places + block) * blockWords + slot * slotWords;
    for (var n = 0; n < 32; n++) {
      let position = exactFirst + 32 * block + n;
      let entry = (sequence * uniforms.capacity + position - run.shift) * entryWords;
      let gain = unpack2x16float(blocks[at + gains + n / 2])[n % 2];
      workgroupBarrier();
      for (var c = lane; c < slotWidth; c += lanes) {
        numbers[c] = gain * levelOf(codeAt(at + valueCodes + c * codeWords, n));
      }
      workgroupBarrier();
      for (var c = 2 * lane; c < slotWidth; c += 2 * lanes) {
        entries[entry + slot * keySlotWords + c / 2] = halves(keyAt(at, position, n, c), keyAt(at, position, n, c + 1));
        entries[entry + slots * keySlotWords + slot * valueSlotWords + c / 2] = halves(hadamardAt(c), hadamardAt(c + 1));
      }
    }
  }`;
