import { BLOCK_TOKENS } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../../fused-kernel.ts';
import { type HostBackend, hostFloats, hostWords } from '../../tensors.ts';
import { runProgram } from '../../webgpu/run-program.ts';
import { type BlockRun, blockRun } from '../blocks/block-shader.ts';
import { type CacheFormat, slotsOf } from '../cache-format.ts';
import { readRotation, rotateKey, rotateKeyBack, rotationAt } from '../rotation-table.ts';
import { decodeSlot, encodeSlot, viewCache } from '../slot-codec.ts';
import { decodeAdaptedSlot, encodeAdaptedSlot } from './adapted-codec.ts';
import type { AdaptedFormat } from './adapted-format.ts';
import { adaptedConstants, adaptedReader, adaptedWriter, tableReader } from './adapted-shader.ts';

/** Entries and blocks between which tokens move; one of the two is written in place. */
interface AdaptedMoveInputs {
  /** Tokens one by one, int32 [batch, capacity, entryWords], in f16. */
  entries: TensorInfo;
  /** int32 [batch, blocks, blockWords] */
  blocks: TensorInfo;
  /** int32 [batch, 3], see `BlockRun`. */
  runs: TensorInfo;
  /** `createRotationTable` that keys of entries are rotated with. */
  rotation: TensorInfo;
  /** The tables of the format, int32. */
  tables: TensorInfo;
}

export interface AdaptedMoveAttributes {
  format: AdaptedFormat;
  entryFormat: CacheFormat;
  /** Tokens before the first block. */
  exactFirst: number;
  /** The longest run. */
  longest: number;
}

type Direction = 'pack' | 'unpack';

const kernelOf = (direction: Direction, name: string) =>
  defineFusedKernel<AdaptedMoveInputs, AdaptedMoveAttributes>({
    name,
    bytesRead: ({ entries, blocks }, { longest }) =>
      4 *
      longest *
      (direction === 'pack'
        ? entries.shape[0]! * BLOCK_TOKENS * entries.shape[2]!
        : blocks.shape[0]! * blocks.shape[2]!),
    webgpu: ({ inputs, attributes, backend }) => moveOnGpu(direction, backend, inputs, attributes),
    wasm: ({ inputs, attributes, backend }) => moveOnHost(direction, backend, inputs, attributes),
    cpu: ({ inputs, attributes, backend }) => moveOnHost(direction, backend, inputs, attributes),
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

function moveOnHost(
  direction: Direction,
  backend: HostBackend,
  inputs: AdaptedMoveInputs,
  { format, entryFormat, exactFirst }: AdaptedMoveAttributes,
): TensorInfo[] {
  const { width } = format;
  const [batch, capacity, entryWords] = inputs.entries.shape as [number, number, number];
  const places = inputs.blocks.shape[1]!;
  const entries = viewCache(hostWords(backend, inputs.entries));
  const blocks = hostWords(backend, inputs.blocks);
  const runs = hostWords(backend, inputs.runs);
  const table = hostFloats(backend, inputs.rotation);
  const inverse = 1 / table[0]! ** 4;
  const half = width / 2;
  const rotation = new Float32Array(width);
  const rows = new Float32Array(BLOCK_TOKENS * width);
  const turn = (firstPosition: number) => {
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      readRotation(table, firstPosition + n, half, rotation);
      if (direction === 'pack') rotateKeyBack(rows, n * width, half, rotation, inverse);
      else rotateKey(rows, n * width, half, rotation);
    }
  };
  for (let sequence = 0; sequence < batch; sequence++) {
    const [firstBlock, count, shift] = runs.subarray(3 * sequence, 3 * sequence + 3) as unknown as BlockRun;
    for (let block = firstBlock; block < firstBlock + count; block++) {
      const at = (sequence * places + block) * format.blockWords;
      const position = exactFirst + BLOCK_TOKENS * block;
      const entry = (sequence * capacity + position - shift) * entryWords;
      for (const side of ['keys', 'values'] as const) {
        const { offset, slotWords } = slotsOf(entryFormat, side);
        for (let slot = 0; slot < format.slots; slot++) {
          const wordOf = (n: number) => entry + n * entryWords + offset + slot * slotWords;
          if (direction === 'pack') {
            for (let n = 0; n < BLOCK_TOKENS; n++)
              decodeSlot(entries, wordOf(n), entryFormat.dtype, rows, n * width, width);
            if (side === 'keys') turn(position);
            encodeAdaptedSlot(blocks, at, format, [side, slot], rows);
          } else {
            decodeAdaptedSlot(blocks, at, format, [side, slot], rows);
            if (side === 'keys') turn(position);
            for (let n = 0; n < BLOCK_TOKENS; n++)
              encodeSlot(entries, wordOf(n), entryFormat.dtype, rows, n * width, width);
          }
        }
      }
    }
  }
  return [];
}

/** Invocations of a workgroup: one for a slot of a block, keys and values. */
const LANES = 64;

function moveOnGpu(
  direction: Direction,
  gpu: WebGPUBackend,
  inputs: AdaptedMoveInputs,
  { format, entryFormat, exactFirst, longest }: AdaptedMoveAttributes,
): TensorInfo[] {
  const [batch, capacity, entryWords] = inputs.entries.shape as [number, number, number];
  const words = (of: 'entries' | 'blocks') => ({ name: of, type: 'u32', tensor: inputs[of] }) as const;
  const [from, to] = direction === 'pack' ? (['entries', 'blocks'] as const) : (['blocks', 'entries'] as const);
  runProgram(gpu, {
    name: `${direction}_adapted_blocks`,
    shape: [format.dtype, format.slots, format.width, format.blockWords, exactFirst],
    reads: [
      words(from),
      { name: 'runs', type: 'struct BlockRun', tensor: inputs.runs },
      { name: 'rotation', type: 'f32', tensor: inputs.rotation },
      { name: 'tables', type: 'u32', tensor: inputs.tables },
    ],
    writes: [words(to)],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'places', type: 'i32', value: inputs.blocks.shape[1]! },
    ],
    workgroups: [2 * format.slots, longest, batch],
    source: () => ({
      constants: {
        ...adaptedConstants(format),
        ...{ lanes: LANES, entryWords, exactFirst },
        slotWords: entryFormat.keySlotWords,
        half: format.width / 2,
        channelsPerLane: Math.ceil(format.width / LANES),
      },
      code: [
        blockRun,
        tableReader,
        rotationAt,
        ...(direction === 'pack' ? [adaptedWriter, packMain] : [adaptedReader, unpackMain]),
      ].join('\n'),
    }),
  });
  return [];
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
