import { BLOCK_TOKENS } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../../fused-kernel.ts';
import { type HostBackend, hostFloats, hostWords } from '../../tensors.ts';
import { slotsOf } from '../cache-format.ts';
import { readRotation, rotateKey } from '../rotation-table.ts';
import { encodeSlot, viewCache } from '../slot-codec.ts';
import { decodeBlockKeys, decodeBlockValues } from './block-codec.ts';
import { type BlockMoveAttributes, type BlockMoveInputs, moveOnGpu } from './block-moves.ts';
import { type BlockRun, codeReader, hadamardShader } from './block-shader.ts';

const unpack = defineFusedKernel<BlockMoveInputs, BlockMoveAttributes>({
  name: 'KvlrUnpackBlocks',
  bytesRead: ({ blocks }, { longest }) => 4 * blocks.shape[0]! * longest * blocks.shape[2]!,
  webgpu: ({ inputs, attributes, backend }) => unpackOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => unpackOnHost(backend, inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => unpackOnHost(backend, inputs, attributes),
});

/** Unpacks runs of blocks into entries, whose places fall behind positions by the runs' shifts, keys rotated, in place. */
export function unpackBlocks(
  inputs: { [Name in keyof BlockMoveInputs]: Tensor },
  attributes: BlockMoveAttributes,
): void {
  if (attributes.longest > 0) unpack(inputs, attributes);
}

function unpackOnHost(
  backend: HostBackend,
  inputs: BlockMoveInputs,
  { format, entryFormat, exactFirst }: BlockMoveAttributes,
): TensorInfo[] {
  const { width } = format;
  const half = width / 2;
  const [batch, capacity, entryWords] = inputs.entries.shape as [number, number, number];
  const places = inputs.blocks.shape[1]!;
  const entries = viewCache(hostWords(backend, inputs.entries));
  const blocks = hostWords(backend, inputs.blocks);
  const runs = hostWords(backend, inputs.runs);
  const table = hostFloats(backend, inputs.rotation);
  const rotation = new Float32Array(width);
  const [keys, values] = [new Float32Array(BLOCK_TOKENS * width), new Float32Array(BLOCK_TOKENS * width)];
  const [keySlots, valueSlots] = [slotsOf(entryFormat, 'keys'), slotsOf(entryFormat, 'values')];
  for (let sequence = 0; sequence < batch; sequence++) {
    const [firstBlock, count, shift] = runs.subarray(3 * sequence, 3 * sequence + 3) as unknown as BlockRun;
    for (let block = firstBlock; block < firstBlock + count; block++) {
      for (let slot = 0; slot < format.slots; slot++) {
        const at = (sequence * places + block) * format.blockWords + slot * format.slotWords;
        decodeBlockKeys(blocks, at, format, keys);
        decodeBlockValues(blocks, at, format, values);
        for (let n = 0; n < BLOCK_TOKENS; n++) {
          const position = exactFirst + BLOCK_TOKENS * block + n;
          const row = n * width;
          readRotation(table, position, half, rotation);
          rotateKey(keys, row, half, rotation);
          const entry = (sequence * capacity + position - shift) * entryWords;
          const { dtype } = entryFormat;
          encodeSlot(entries, entry + slot * keySlots.slotWords, dtype, keys, row, width);
          encodeSlot(entries, entry + valueSlots.offset + slot * valueSlots.slotWords, dtype, values, row, width);
        }
      }
    }
  }
  return [];
}

/** The body on WebGPU. */
function unpackOnGpu(gpu: WebGPUBackend, inputs: BlockMoveInputs, attributes: BlockMoveAttributes): TensorInfo[] {
  return moveOnGpu(gpu, inputs, attributes, {
    name: 'unpack_blocks',
    to: 'entries',
    code: [codeReader(attributes.format), numbersOfToken, hadamardShader, unpackMain],
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
