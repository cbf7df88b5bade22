import type { EntryDtype } from '@kvlr/core';
import type { HostCache } from '../cache/dtypes/slot-dtype.ts';
import { decodeSlot } from '../cache/slot-codec.ts';

/** Rows of numbers: one array, where the first row begins, and how far apart rows are. */
export interface Rows {
  numbers: Float32Array;
  at: number;
  stride: number;
  width: number;
  count: number;
}

/** Slots of a packed cache: the word with which the first one begins, and how many words lie from one to the next. */
interface Slots {
  cache: HostCache;
  dtype: EntryDtype;
  at: number;
  stride: number;
  width: number;
  count: number;
}

/** Places behind the scores of a tile that `RowMath.exponentiate` takes for itself. */
export const SPARE_SCORES = 4;

/** The inner loops of attention. Numbers lie where tensors do: on wasm in the heap. */
export interface RowMath {
  /** scores[to + n] = query . row n */
  score(query: Float32Array, at: number, rows: Rows, scores: Float32Array, to: number): void;
  /**
   * scores[n] = e^(scores[n] - highest) for first <= n < end, and returns their sum. The last `SPARE_SCORES` places of the array
   * may be written to as well.
   */
  exponentiate(scores: Float32Array, first: number, end: number, highest: number): number;
  /** result[to ..] += sum of weights[from + n] * row n */
  add(weights: Float32Array, from: number, rows: Rows, result: Float32Array, to: number): void;
  /** Decodes slots into rows without gaps. */
  unpack(slots: Slots, rows: Float32Array): void;
}

/** The loops in plain JavaScript. */
export const plainRowMath: RowMath = {
  score(query, at, { numbers, at: first, stride, width, count }, scores, to) {
    for (let n = 0; n < count; n++) {
      const row = first + n * stride;
      let sum = 0;
      for (let c = 0; c < width; c++) sum += query[at + c]! * numbers[row + c]!;
      scores[to + n] = sum;
    }
  },
  exponentiate(scores, first, end, highest) {
    let total = 0;
    for (let n = first; n < end; n++) {
      const weight = Math.exp(scores[n]! - highest);
      scores[n] = weight;
      total += weight;
    }
    return total;
  },
  add(weights, from, { numbers, at: first, stride, width, count }, result, to) {
    for (let n = 0; n < count; n++) {
      const weight = weights[from + n]!;
      const row = first + n * stride;
      for (let c = 0; c < width; c++) result[to + c] = result[to + c]! + weight * numbers[row + c]!;
    }
  },
  unpack({ cache, dtype, at, stride, width, count }, rows) {
    for (let n = 0; n < count; n++) decodeSlot(cache, at + n * stride, dtype, rows, n * width, width);
  },
};
