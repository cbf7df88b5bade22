import type { TensorInfo } from '@tensorflow/tfjs-core';
import {
  type CacheFormat,
  type CacheWindow,
  entriesOfLength,
  formatOfSlot,
  sequenceAt,
  slotsOf,
} from '../cache/cache-format.ts';
import type { HostCache } from '../cache/dtypes/slot-dtype.ts';
import { viewCache } from '../cache/slot-codec.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../tensors.ts';
import { type RowMath, type Rows, SPARE_SCORES } from './row-math.ts';
import { headsOfOneSlot } from './workgroup-plan.ts';

export interface AttentionInputs {
  /** As `rotateAndAppend` gives them: rotated, encoded, scaled, float32 [batch * tokens, variants, numAttentionHeads, width]. */
  queries: TensorInfo;
  /** int32 [batch, capacity, entryWords]; holds the new tokens already. */
  cache: TensorInfo;
  /** int32 [batch, 3], see `SequenceRow`: the ones that the new tokens were appended with. */
  sequences: TensorInfo;
}

/** What attention takes besides where slots hold tokens of their own. */
export interface SlotAttentionInputs extends AttentionInputs {
  /** int32 [batch * keySlots, 2], see `SlotRow`; the layout has as many values as keys, and there is no window. */
  slots?: TensorInfo;
  /** With `slots`: what is added to the scores of each entry, float32 [places]; log(n) for one that stands for n tokens. */
  biases?: TensorInfo;
}

export interface AttentionAttributes {
  format: CacheFormat;
  window: CacheWindow;
  /** Entries of the longest sequence, the new tokens included: what a call has to look at. */
  longest: number;
}

/** Entries of a tile at most. */
export const TILE_ENTRIES = 64;
/** New tokens of one head that share a decoded tile. */
const BLOCK_TOKENS = 32;

/**
 * Attention of new tokens over their cache on wasm and cpu, for decoding and for prompts: tiles of the cache with an online softmax,
 * so that no table of tokens times entries is kept. Heads of one slot share its decoded tile.
 */
export function attendOnHost(
  backend: HostBackend,
  math: RowMath,
  inputs: SlotAttentionInputs,
  { format, window }: AttentionAttributes,
): TensorInfo {
  const [rows, variants, heads, keyWidth] = inputs.queries.shape as [number, number, number, number];
  const capacity = inputs.cache.shape[1]!;
  const batch = inputs.sequences.shape[0]!;
  const { keySlots, valueSlots, valueSlotWidth } = format.layout;
  const tokens = rows / batch;
  const attended = allocateOnHost(backend, [rows, heads * valueSlotWidth], 'float32');
  const { keySlotWidth } = format.layout;
  const scratch = [TILE_ENTRIES + SPARE_SCORES, TILE_ENTRIES * keySlotWidth, TILE_ENTRIES * valueSlotWidth].map(
    (size) => allocateOnHost(backend, [size], 'float32'),
  );
  // Views come last: an allocation may move the heap.
  const [scores, keyScratch, valueScratch] = scratch.map((tensor) => hostFloats(backend, tensor)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const queries = hostFloats(backend, inputs.queries);
  const cache = viewCache(hostWords(backend, inputs.cache));
  const sequences = hostWords(backend, inputs.sequences);
  const slots = inputs.slots && hostWords(backend, inputs.slots);
  const biases = inputs.biases && hostFloats(backend, inputs.biases);
  const result = hostFloats(backend, attended).fill(0);
  const entryFormat = slots ? formatOfSlot(format) : format;
  const keys = new SlotTile(math, cache, entryFormat, 'keys', keyScratch);
  const values = new SlotTile(math, cache, entryFormat, 'values', valueScratch);
  const together = headsOfOneSlot(format.layout, heads);
  const softmax = new OnlineSoftmax(math, result, BLOCK_TOKENS * together);

  const attendBlock = (sequence: number, firstHead: number, firstToken: number): void => {
    const { held, added, shift: ofSequence } = sequenceAt(sequences, sequence);
    const keySlot = Math.floor((firstHead * keySlots) / heads);
    const valueSlot = Math.floor((firstHead * valueSlots) / heads);
    const own = 2 * (sequence * keySlots + keySlot);
    const shift = slots?.[own + 1] ?? ofSequence;
    const firstEntry = slots?.[own] ?? sequence * capacity;
    const block = Math.min(BLOCK_TOKENS, added - firstToken);
    const end = held + firstToken + block - shift;
    // Places in a ring say nothing of positions, but a single token may see them all.
    const seesAll = tokens === 1;
    const entries = seesAll ? entriesOfLength(end, window) : end;
    softmax.begin();
    for (let start = 0; start < entries; start += TILE_ENTRIES) {
      const count = Math.min(TILE_ENTRIES, entries - start);
      keys.load(firstEntry + start, count, slots ? 0 : keySlot);
      values.load(firstEntry + start, count, slots ? 0 : valueSlot);
      for (let token = 0; token < block; token++) {
        const row = sequence * tokens + firstToken + token;
        const newest = seesAll ? entries - 1 : held + firstToken + token - shift;
        const oldest = seesAll || window.window === 0 ? 0 : newest - window.window + 1;
        for (let h = 0; h < together; h++) {
          const query = (row * variants * heads + firstHead + h) * keyWidth;
          const at = (row * heads + firstHead + h) * valueSlotWidth;
          const add = (first: number, end: number, from: number) => {
            if (first >= end) return;
            math.score(queries, from, keys.rows(first, end - first), scores, first);
            if (biases) for (let n = first; n < end; n++) scores[n]! += biases[firstEntry + start + n]!;
            softmax.add(token * together + h, at, scores, first, end, values);
          };
          const end = Math.min(count, newest + 1 - start);
          const endOfSinks = Math.min(end, window.sinks - start);
          add(0, endOfSinks, query + (variants - 1) * heads * keyWidth);
          add(Math.max(0, endOfSinks, oldest - start), end, query);
        }
      }
    }
    for (let token = 0; token < block; token++) {
      const row = sequence * tokens + firstToken + token;
      for (let h = 0; h < together; h++) {
        softmax.finish(token * together + h, (row * heads + firstHead + h) * valueSlotWidth, valueSlotWidth);
      }
    }
  };

  for (let sequence = 0; sequence < batch; sequence++) {
    const { added } = sequenceAt(sequences, sequence);
    for (let firstHead = 0; firstHead < heads; firstHead += together) {
      for (let firstToken = 0; firstToken < added; firstToken += BLOCK_TOKENS) {
        attendBlock(sequence, firstHead, firstToken);
      }
    }
  }
  for (const each of scratch) backend.disposeData(each.dataId);
  return attended;
}

/** The values of a tile. */
export interface ValueTile {
  readonly width: number;
  /** result[at ..] += the sum of weights[n] * value n for first <= n < end. */
  add(weights: Float32Array, first: number, end: number, result: Float32Array, at: number): void;
}

/**
 * Weighted sums of values that grow tile by tile, one for each row (Milakov and Gimelshein 2018): when a higher score comes, what
 * was summed so far shrinks. The sums lie in `result`, which begins as zeros.
 */
export class OnlineSoftmax {
  private readonly math: RowMath;
  private readonly result: Float32Array;
  private readonly highest: Float64Array;
  private readonly totals: Float64Array;

  constructor(math: RowMath, result: Float32Array, rows: number) {
    this.math = math;
    this.result = result;
    this.highest = new Float64Array(rows);
    this.totals = new Float64Array(rows);
  }

  begin(): void {
    this.highest.fill(Number.NEGATIVE_INFINITY);
    this.totals.fill(0);
  }

  /** Adds values n of a tile for first <= n < end to a row, whose sums begin at `at`. Their scores become weights. */
  add(row: number, at: number, scores: Float32Array, first: number, end: number, values: ValueTile): void {
    const { result } = this;
    const before = this.highest[row]!;
    let highest = before;
    for (let n = first; n < end; n++) if (scores[n]! > highest) highest = scores[n]!;
    if (highest === Number.NEGATIVE_INFINITY) return;
    const shrink = Math.exp(before - highest);
    if (shrink !== 1) for (let c = 0; c < values.width; c++) result[at + c] = result[at + c]! * shrink;
    const total = this.totals[row]! * shrink + this.math.exponentiate(scores, first, end, highest);
    values.add(scores, first, end, result, at);
    this.highest[row] = highest;
    this.totals[row] = total;
  }

  /** The sum of a row's weights so far. */
  total(row: number): number {
    return this.totals[row]!;
  }

  /** Divides a row's sums by the sum of its weights. */
  finish(row: number, at: number, width: number): void {
    const inverse = 1 / this.totals[row]!;
    for (let c = 0; c < width; c++) this.result[at + c] = this.result[at + c]! * inverse;
  }
}

/** A tile of one slot as rows of numbers: f32 caches are read where they lie, others are decoded into `scratch` first. */
export class SlotTile implements ValueTile {
  readonly width: number;
  private readonly math: RowMath;
  private readonly cache: HostCache;
  private readonly format: CacheFormat;
  /** Words before the part's first slot in an entry, and of a slot. */
  private readonly offset: number;
  private readonly slotWords: number;
  private readonly scratch: Float32Array;
  private start = 0;

  constructor(math: RowMath, cache: HostCache, format: CacheFormat, part: 'keys' | 'values', scratch: Float32Array) {
    const { width, offset, slotWords } = slotsOf(format, part);
    this.math = math;
    this.cache = cache;
    this.format = format;
    this.width = width;
    this.offset = offset;
    this.slotWords = slotWords;
    this.scratch = scratch;
  }

  /** Makes `count` entries from `firstEntry` on readable. */
  load(firstEntry: number, count: number, slot: number): void {
    const { entryWords, dtype } = this.format;
    this.start = firstEntry * entryWords + this.offset + slot * this.slotWords;
    if (dtype === 'f32') return;
    const { cache, start: at, width } = this;
    this.math.unpack({ cache, dtype, at, stride: entryWords, width, count }, this.scratch);
  }

  /** The entries from the n-th of the tile on. */
  rows(n: number, count: number): Rows {
    const { entryWords, dtype } = this.format;
    const { width } = this;
    if (dtype !== 'f32') return { numbers: this.scratch, at: n * width, stride: width, width, count };
    return { numbers: this.cache.floats, at: this.start + n * entryWords, stride: entryWords, width, count };
  }

  add(weights: Float32Array, first: number, end: number, result: Float32Array, at: number): void {
    this.math.add(weights, first, this.rows(first, end - first), result, at);
  }
}
