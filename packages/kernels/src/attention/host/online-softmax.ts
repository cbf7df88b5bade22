import type { RowMath } from './row-math.ts';
import type { SlotTile } from './slot-tile.ts';

/**
 * Weighted sums of values that grow tile by tile, one for each row (Milakov and Gimelshein 2018): when a higher score turns up, what
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
  add(row: number, at: number, scores: Float32Array, first: number, end: number, values: SlotTile): void {
    const { result } = this;
    const before = this.highest[row]!;
    let highest = before;
    for (let n = first; n < end; n++) if (scores[n]! > highest) highest = scores[n]!;
    if (highest === Number.NEGATIVE_INFINITY) return;
    const shrink = Math.exp(before - highest);
    if (shrink !== 1) for (let c = 0; c < values.width; c++) result[at + c] = result[at + c]! * shrink;
    const total = this.totals[row]! * shrink + this.math.weigh(scores, first, end, highest);
    this.math.add(scores, first, values.rows(first, end - first), result, at);
    this.highest[row] = highest;
    this.totals[row] = total;
  }

  /** Divides a row's sums by the sum of its weights. */
  finish(row: number, at: number, width: number): void {
    const inverse = 1 / this.totals[row]!;
    for (let c = 0; c < width; c++) this.result[at + c] = this.result[at + c]! * inverse;
  }
}
