import { BLOCK_TOKENS, type LayerCacheLayout } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type HostBackend, hostFloats, hostWords } from '../../tensors.ts';
import type { GpuRead, GpuShape } from '../../webgpu/program.ts';
import { runProgram } from '../../webgpu/run-program.ts';
import { type CacheFormat, slotsOf } from '../cache-format.ts';
import { readRotation, rotateKey, rotateKeyBack, rotationAt } from '../rotation-table.ts';
import { decodeSlot, encodeSlot, viewCache } from '../slot-codec.ts';
import type { BlockFormat } from './block-format.ts';
import { type BlockRun, blockRun } from './block-shader.ts';

/** Entries and blocks between which tokens move; one of the two is written in place. */
export interface BlockMoveInputs {
  /** Tokens one by one, int32 [batch, capacity, entryWords], in f16. */
  entries: TensorInfo;
  /** int32 [batch, blocks, blockWords] */
  blocks: TensorInfo;
  /** int32 [batch, 3], see `BlockRun`. */
  runs: TensorInfo;
  /** `createRotationTable` that keys of entries are rotated with. */
  rotation: TensorInfo;
}

/** What moving has to know of blocks of any kind. */
interface MovedBlocks {
  layout: LayerCacheLayout;
  slots: number;
  width: number;
  blockWords: number;
}

export interface BlockMoveAttributes<Format extends MovedBlocks = BlockFormat> {
  format: Format;
  entryFormat: CacheFormat;
  /** Tokens before the first block. */
  exactFirst: number;
  /** The longest run. */
  longest: number;
}

export type MoveDirection = 'pack' | 'unpack';

/** One slot of a block between words and rows of 32 tokens, [32, width]; keys before RoPE. The block begins at word `at`. */
export interface BlockSlotCodec {
  encode(words: Int32Array, at: number, slot: number, keys: Float32Array, values: Float32Array): void;
  decode(words: Int32Array, at: number, slot: number, keys: Float32Array, values: Float32Array): void;
}

/** Packs runs of entries into blocks, their keys rotated back to what they were before RoPE, or unpacks them, on wasm and cpu. */
export function moveOnHost(
  direction: MoveDirection,
  backend: HostBackend,
  inputs: BlockMoveInputs,
  { format, entryFormat, exactFirst }: BlockMoveAttributes<MovedBlocks>,
  codec: BlockSlotCodec,
): TensorInfo[] {
  const { width } = format;
  const half = width / 2;
  const [batch, capacity, entryWords] = inputs.entries.shape as [number, number, number];
  const places = inputs.blocks.shape[1]!;
  const entries = viewCache(hostWords(backend, inputs.entries));
  const blocks = hostWords(backend, inputs.blocks);
  const runs = hostWords(backend, inputs.runs);
  const table = hostFloats(backend, inputs.rotation);
  // The length of a rotated pair, squared: the table may hold a factor.
  const inverse = 1 / table[0]! ** 4;
  const rotation = new Float32Array(width);
  const sides = (['keys', 'values'] as const).map((side) => ({
    ...slotsOf(entryFormat, side),
    rows: new Float32Array(BLOCK_TOKENS * width),
  }));
  const [keys, values] = sides.map(({ rows }) => rows) as [Float32Array, Float32Array];
  const moveEntries = (move: typeof encodeSlot | typeof decodeSlot, firstEntry: number, slot: number) => {
    for (const { offset, slotWords, rows } of sides) {
      for (let n = 0; n < BLOCK_TOKENS; n++) {
        move(
          entries,
          firstEntry + n * entryWords + offset + slot * slotWords,
          entryFormat.dtype,
          rows,
          n * width,
          width,
        );
      }
    }
  };
  const turnKeys = (firstPosition: number) => {
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      readRotation(table, firstPosition + n, half, rotation);
      if (direction === 'pack') rotateKeyBack(keys, n * width, half, rotation, inverse);
      else rotateKey(keys, n * width, half, rotation);
    }
  };
  for (let sequence = 0; sequence < batch; sequence++) {
    const [firstBlock, count, shift] = runs.subarray(3 * sequence, 3 * sequence + 3) as unknown as BlockRun;
    for (let block = firstBlock; block < firstBlock + count; block++) {
      const at = (sequence * places + block) * format.blockWords;
      const position = exactFirst + BLOCK_TOKENS * block;
      const firstEntry = (sequence * capacity + position - shift) * entryWords;
      for (let slot = 0; slot < format.slots; slot++) {
        if (direction === 'pack') {
          moveEntries(decodeSlot, firstEntry, slot);
          turnKeys(position);
          codec.encode(blocks, at, slot, keys, values);
        } else {
          codec.decode(blocks, at, slot, keys, values);
          turnKeys(position);
          moveEntries(encodeSlot, firstEntry, slot);
        }
      }
    }
  }
  return [];
}

/** Invocations of a workgroup. */
export const MOVE_LANES = 64;

interface BlockMove {
  direction: MoveDirection;
  name: string;
  /** What the source depends on besides the tokens before the first block. */
  shape: GpuShape;
  /** Bindings besides those of all blocks. */
  reads?: readonly GpuRead[];
  /** Workgroups for each block. */
  groups: number;
  constants: Record<string, number>;
  code: string[];
}

/** The same on WebGPU, by a shader. */
export function moveOnGpu(
  gpu: WebGPUBackend,
  inputs: BlockMoveInputs,
  { entryFormat, exactFirst, longest }: Omit<BlockMoveAttributes<MovedBlocks>, 'format'>,
  { direction, name, shape, reads = [], groups, constants, code }: BlockMove,
): TensorInfo[] {
  const [batch, capacity, entryWords] = inputs.entries.shape as [number, number, number];
  const [from, to] = direction === 'pack' ? (['entries', 'blocks'] as const) : (['blocks', 'entries'] as const);
  const words = (of: 'entries' | 'blocks') => ({ name: of, type: 'u32', tensor: inputs[of] }) as const;
  runProgram(gpu, {
    name,
    shape: [...shape, exactFirst],
    reads: [
      words(from),
      { name: 'runs', type: 'struct BlockRun', tensor: inputs.runs },
      { name: 'rotation', type: 'f32', tensor: inputs.rotation },
      ...reads,
    ],
    writes: [words(to)],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'places', type: 'i32', value: inputs.blocks.shape[1]! },
    ],
    workgroups: [groups, longest, batch],
    source: () => ({
      constants: {
        ...{ lanes: MOVE_LANES, entryWords, exactFirst },
        keySlotWords: entryFormat.keySlotWords,
        valueSlotWords: entryFormat.valueSlotWords,
        ...constants,
      },
      code: [blockRun, rotationAt, ...code].join('\n'),
    }),
  });
  return [];
}
