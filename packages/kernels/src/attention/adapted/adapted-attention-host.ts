import { BLOCK_TOKENS } from '@kvlr/core';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { codedChannels } from '../../cache/adapted/adapted-codec.ts';
import { type AdaptedFormat, tableParts, tableStart } from '../../cache/adapted/adapted-format.ts';
import { sequenceAt } from '../../cache/cache-format.ts';
import { viewCache } from '../../cache/slot-codec.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../../tensors.ts';
import { OnlineSoftmax, SlotTile, TILE_ENTRIES, type ValueTile } from '../attention-host.ts';
import {
  type BlockAttentionAttributes,
  type BlockAttentionInputs,
  EntriesBehind,
  fillRotations,
} from '../blocks/block-attention-host.ts';
import { type RowMath, type Rows, SPARE_SCORES } from '../row-math.ts';
import { headsOfOneSlot } from '../workgroup-plan.ts';
import type { LevelMath } from './level-math.ts';

export interface AdaptedAttentionInputs extends BlockAttentionInputs {
  /** The tables of the format, int32. */
  tables: TensorInfo;
}

export type AdaptedAttentionAttributes = BlockAttentionAttributes<AdaptedFormat>;

/**
 * Attention of one new token of each sequence over blocks in fitted bases and over the entries that are in none, on wasm and cpu: one
 * softmax over both. Of each block and slot the keys' numbers are made once for all the heads that read them, channel by channel, and turned
 * by their places in the block; queries are turned back by the block's first position. Of the values only levels are made: sums over the
 * blocks stay in the basis, and become numbers once.
 */
export function attendAdaptedOnHost(
  backend: HostBackend,
  math: RowMath,
  levelMath: LevelMath,
  inputs: AdaptedAttentionInputs,
  { format, entryFormat, exactFirst, longest }: AdaptedAttentionAttributes,
): TensorInfo {
  const { width } = format;
  const half = width / 2;
  const [batch, , heads] = inputs.queries.shape as [number, number, number];
  const capacity = inputs.entries.shape[1]!;
  const places = inputs.blocks.shape[1]!;
  const together = headsOfOneSlot(format.layout, heads);
  const attended = allocateOnHost(backend, [batch, heads * width], 'float32');
  const tileNumbers = BLOCK_TOKENS * width;
  const sizes = [
    ...[TILE_ENTRIES + SPARE_SCORES, TILE_ENTRIES * width, TILE_ENTRIES * width],
    ...[longest * width, tileNumbers],
    ...[tileNumbers, tileNumbers, tileNumbers, width, width + SPARE_SCORES],
  ];
  const scratch = sizes.map((size) => allocateOnHost(backend, [size], 'float32'));
  // Views come last: an allocation may move the heap.
  const views = scratch.map((tensor) => hostFloats(backend, tensor));
  const [scores, keyNumbers, valueNumbers, starts, turns] = views as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const [levels, keyTile, valueLevels, turnedBack, sums] = views.slice(5) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const queries = hostFloats(backend, inputs.queries);
  const result = hostFloats(backend, attended).fill(0);
  const sequences = hostWords(backend, inputs.sequences);
  const blocks = hostWords(backend, inputs.blocks);
  const tables = viewCache(hostWords(backend, inputs.tables)).floats;
  fillRotations(hostFloats(backend, inputs.rotation), exactFirst, longest, starts, turns);
  const cache = viewCache(hostWords(backend, inputs.entries));
  const keys = new SlotTile(math, cache, entryFormat, 'keys', keyNumbers);
  const values = new SlotTile(math, cache, entryFormat, 'values', valueNumbers);
  const entriesBehind = new EntriesBehind(math, { queries, keys, values, scores, width });
  const softmax = new OnlineSoftmax(math, result, together);
  const { mean, backward } = tableParts(width);
  const rowsOf = (numbers: Float32Array, count: number): Rows => ({
    ...{ numbers, at: 0, stride: BLOCK_TOKENS, width: BLOCK_TOKENS, count },
  });
  const turnBack = (from: number, block: number) => {
    for (let j = 0; j < half; j++) {
      const [x, y] = [queries[from + j]!, queries[from + j + half]!];
      const [cosine, sine] = [starts[block * width + j]!, starts[block * width + half + j]!];
      turnedBack[j] = x * cosine + y * sine;
      turnedBack[j + half] = y * cosine - x * sine;
    }
  };

  for (let sequence = 0; sequence < batch; sequence++) {
    const { held, added, shift } = sequenceAt(sequences, sequence);
    if (added === 0) continue;
    for (let slot = 0; slot < format.slots; slot++) {
      const from = (sequence * heads + slot * together) * width;
      const ofKeys = tableStart(format, 'keys', slot);
      const ofValues = tableStart(format, 'values', slot);
      const keyChannels = codedChannels(format, 'keys', slot);
      const levelTile = new LevelTile(math, rowsOf(valueLevels, codedChannels(format, 'values', slot)), sums);
      softmax.begin();
      for (let block = 0; block < shift / BLOCK_TOKENS; block++) {
        const at = (sequence * places + block) * format.blockWords;
        levelMath.read(blocks, at, format, ['keys', slot], levels);
        levelMath.expand(levels, keyChannels, { tables, mean: ofKeys + mean, rows: ofKeys + backward, width }, keyTile);
        levelMath.turn(keyTile, turns, half);
        levelMath.read(blocks, at, format, ['values', slot], valueLevels);
        for (let h = 0; h < together; h++) {
          turnBack(from + h * width, block);
          scores.fill(0, 0, BLOCK_TOKENS);
          math.add(turnedBack, 0, rowsOf(keyTile, width), scores, 0);
          softmax.add(h, from + h * width, scores, 0, BLOCK_TOKENS, levelTile);
        }
      }
      for (let h = 0; h < together; h++) {
        const total = softmax.total(h);
        sums.set(result.subarray(from + h * width, from + (h + 1) * width));
        const basis = { numbers: tables, at: ofValues + backward, stride: width, width, count: width };
        math.score(sums, 0, basis, result, from + h * width);
        for (let i = 0; i < width; i++) result[from + h * width + i]! += total * tables[ofValues + mean + i]!;
      }
      entriesBehind.add(softmax, { first: sequence * capacity, count: held + added - shift, slot, from, together });
    }
  }
  for (const each of scratch) backend.disposeData(each.dataId);
  return attended;
}

/** Levels of values channel by channel, [channels, 32]: a weighted sum of tokens is a product with each row. */
class LevelTile implements ValueTile {
  readonly width: number;

  constructor(
    private readonly math: RowMath,
    private readonly channels: Rows,
    private readonly sums: Float32Array,
  ) {
    this.width = channels.count;
  }

  add(weights: Float32Array, first: number, _end: number, result: Float32Array, at: number): void {
    if (this.width === 0) return;
    this.math.score(weights, first, this.channels, this.sums, 0);
    for (let c = 0; c < this.width; c++) result[at + c] = result[at + c]! + this.sums[c]!;
  }
}
