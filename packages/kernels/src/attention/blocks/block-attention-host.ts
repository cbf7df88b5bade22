import { hadamard } from '@kvlr/cache';
import { BLOCK_TOKENS } from '@kvlr/core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { BlockFormat } from '../../cache/blocks/block-format.ts';
import { type CacheFormat, sequenceAt } from '../../cache/cache-format.ts';
import { readRotation } from '../../cache/rotation-table.ts';
import { viewCache } from '../../cache/slot-codec.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../../tensors.ts';
import { OnlineSoftmax, SlotTile, TILE_ENTRIES } from '../attention-host.ts';
import { type RowMath, SPARE_SCORES } from '../row-math.ts';
import { headsOfOneSlot } from '../workgroup-plan.ts';
import type { BlockTile, BlockTileSettings } from './block-tile.ts';

export interface BlockAttentionInputs {
  /** As `rotateAndAppend` gives them: rotated and scaled, float32 [batch, 1, numAttentionHeads, width]. */
  queries: TensorInfo;
  /** Tokens that are in no block, int32 [batch, capacity, entryWords], the new one included. */
  entries: TensorInfo;
  /** int32 [batch, blocks, blockWords] */
  blocks: TensorInfo;
  /** int32 [batch, 3], see `SequenceRow`: places of entries fall behind by the 32 tokens of each block. */
  sequences: TensorInfo;
  /** `createRotationTable` that keys are rotated with. */
  rotation: TensorInfo;
}

/** What attention has to know of blocks of any kind. */
export type BlockLayout = Pick<BlockFormat, 'layout' | 'width'>;

export interface BlockAttentionAttributes<Format extends BlockLayout = BlockFormat> {
  format: Format;
  entryFormat: CacheFormat;
  /** Tokens before the first block. */
  exactFirst: number;
  /** Most blocks of a sequence. */
  longest: number;
}

/** Makes the tile of a step; `scratch` gives it numbers where the backend can reach them. */
export type BlockTileMaker = (settings: BlockTileSettings, scratch: Float32Array) => BlockTile;

/** Numbers of scratch that a tile may take for itself. */
const tileScratch = (width: number) => 3 * width + BLOCK_TOKENS;

/**
 * Attention of one new token of each sequence over its blocks and over the entries that are in none, on wasm and cpu: one softmax over
 * both. Sums over blocks are of rotated values; they are rotated back once, before those of the entries join them.
 */
export function attendBlocksOnHost(
  backend: HostBackend,
  math: RowMath,
  makeTile: BlockTileMaker,
  inputs: BlockAttentionInputs,
  { format, entryFormat, exactFirst, longest }: BlockAttentionAttributes,
): TensorInfo {
  const { width } = format;
  const [batch, , heads] = inputs.queries.shape as [number, number, number];
  const capacity = inputs.entries.shape[1]!;
  const places = inputs.blocks.shape[1]!;
  const attended = allocateOnHost(backend, [batch, heads * width], 'float32');
  const sizes = [
    TILE_ENTRIES + SPARE_SCORES,
    ...[TILE_ENTRIES * width, TILE_ENTRIES * width],
    ...[longest * width, BLOCK_TOKENS * width, tileScratch(width)],
  ];
  const scratch = sizes.map((size) => allocateOnHost(backend, [size], 'float32'));
  // Views come last: an allocation may move the heap.
  const [scores, keyNumbers, valueNumbers, starts, turns, ofTile] = scratch.map((tensor) =>
    hostFloats(backend, tensor),
  ) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
  const queries = hostFloats(backend, inputs.queries);
  const result = hostFloats(backend, attended).fill(0);
  const sequences = hostWords(backend, inputs.sequences);
  fillRotations(hostFloats(backend, inputs.rotation), exactFirst, longest, starts, turns);
  const cache = viewCache(hostWords(backend, inputs.entries));
  const keys = new SlotTile(math, cache, entryFormat, 'keys', keyNumbers);
  const values = new SlotTile(math, cache, entryFormat, 'values', valueNumbers);
  const entriesBehind = new EntriesBehind(math, { queries, keys, values, scores, width });
  const tile = makeTile({ format, words: hostWords(backend, inputs.blocks), starts, turns }, ofTile);
  const together = headsOfOneSlot(format.layout, heads);
  const softmax = new OnlineSoftmax(math, result, together);
  const rotated = new Float64Array(width);

  for (let sequence = 0; sequence < batch; sequence++) {
    const { held, added, shift } = sequenceAt(sequences, sequence);
    if (added === 0) continue;
    for (let slot = 0; slot < format.slots; slot++) {
      const from = (sequence * heads + slot * together) * width;
      softmax.begin();
      for (let block = 0; block < shift / BLOCK_TOKENS; block++) {
        tile.load((sequence * places + block) * format.blockWords + slot * format.slotWords, block);
        for (let h = 0; h < together; h++) {
          tile.score(queries, from + h * width, scores);
          softmax.add(h, from + h * width, scores, 0, BLOCK_TOKENS, tile);
        }
      }
      for (let at = from; at < from + together * width; at += width) {
        rotated.set(result.subarray(at, at + width));
        hadamard(rotated, 0, width);
        result.set(rotated, at);
      }
      entriesBehind.add(softmax, { first: sequence * capacity, count: held + added - shift, slot, from, together });
    }
  }
  for (const each of scratch) backend.disposeData(each.dataId);
  return attended;
}

/** What the entries behind the blocks of a slot are attended to with. */
interface EntriesOfCache {
  queries: Float32Array;
  keys: SlotTile;
  values: SlotTile;
  scores: Float32Array;
  /** Numbers of a slot. */
  width: number;
}

/** The entries behind blocks, which end a softmax over both. */
export class EntriesBehind {
  constructor(
    private readonly math: RowMath,
    private readonly given: EntriesOfCache,
  ) {}

  /**
   * Adds so many entries of a slot from place `first` of the cache on, and finishes the rows of its heads: those of queries and results are
   * `together` from `from` on.
   */
  add(
    softmax: OnlineSoftmax,
    {
      first,
      count: entries,
      slot,
      from,
      together,
    }: { first: number; count: number; slot: number; from: number; together: number },
  ): void {
    const { queries, keys, values, scores, width } = this.given;
    for (let start = 0; start < entries; start += TILE_ENTRIES) {
      const count = Math.min(TILE_ENTRIES, entries - start);
      keys.load(first + start, count, slot);
      values.load(first + start, count, slot);
      for (let h = 0; h < together; h++) {
        this.math.score(queries, from + h * width, keys.rows(0, count), scores, 0);
        softmax.add(h, from + h * width, scores, 0, count, values);
      }
    }
    for (let h = 0; h < together; h++) softmax.finish(h, from + h * width, width);
  }
}

/** Fills the rotations of the first position of each block, and those of 0 to 31 positions (see `BlockTileSettings`). */
export function fillRotations(
  table: Float32Array,
  exactFirst: number,
  blocks: number,
  starts: Float32Array,
  turns: Float32Array,
): void {
  const half = turns.length / (2 * BLOCK_TOKENS);
  for (let block = 0; block < blocks; block++) {
    const position = exactFirst + BLOCK_TOKENS * block;
    readRotation(table, position, half, starts.subarray(2 * half * block, 2 * half * (block + 1)));
  }
  // Rows of the table may hold the root of a factor, which the rotations of the blocks have whole.
  const inverse = 1 / table[0]!;
  for (let j = 0; j < half; j++) {
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      turns[64 * j + n] = inverse * table[n * 2 * half + j]!;
      turns[64 * j + 32 + n] = inverse * table[n * 2 * half + half + j]!;
    }
  }
}
