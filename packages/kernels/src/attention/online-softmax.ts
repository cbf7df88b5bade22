import type { SlotTile } from './slot-tile.ts';

/**
 * Weighted sums of values that grow tile by tile, one for each row (Milakov and Gimelshein 2018): when a higher score turns up, what
 * was summed so far shrinks. The sums lie in `result`, which begins as zeros.
 */
export class OnlineSoftmax {
  private readonly result: Float32Array;
  private readonly highest: Float64Array;
  private readonly totals: Float64Array;

  constructor(result: Float32Array, rows: number) {
    this.result = result;
    this.highest = new Float64Array(rows);
    this.totals = new Float64Array(rows);
  }

  begin(): void {
    this.highest.fill(Number.NEGATIVE_INFINITY);
    this.totals.fill(0);
  }

  /** Adds the values of a tile to a row, whose sums begin at `at`. Scores of minus infinity add nothing. */
  add(row: number, at: number, scores: Float32Array, count: number, values: SlotTile): void {
    const { result } = this;
    const { numbers, width } = values;
    const before = this.highest[row]!;
    let highest = before;
    for (let n = 0; n < count; n++) if (scores[n]! > highest) highest = scores[n]!;
    if (highest === Number.NEGATIVE_INFINITY) return;
    const shrink = Math.exp(before - highest);
    let total = this.totals[row]! * shrink;
    if (shrink !== 1) for (let c = 0; c < width; c++) result[at + c] = result[at + c]! * shrink;
    for (let n = 0; n < count; n++) {
      const weight = Math.exp(scores[n]! - highest);
      if (weight === 0) continue;
      total += weight;
      const value = values.at(n);
      for (let c = 0; c < width; c++) result[at + c] = result[at + c]! + weight * numbers[value + c]!;
    }
    this.highest[row] = highest;
    this.totals[row] = total;
  }

  /** Divides a row's sums by the sum of its weights. */
  finish(row: number, at: number, width: number): void {
    const inverse = 1 / this.totals[row]!;
    for (let c = 0; c < width; c++) this.result[at + c] = this.result[at + c]! * inverse;
  }
}
