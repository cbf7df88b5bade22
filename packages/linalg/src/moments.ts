import { KvlrError } from '@kvlr/core';
import { requireCount, requireFinite } from './input.ts';
import {
  addBlock,
  firstPanel,
  multiplyReserved,
  packPanels,
  panelDepth,
  panelStorage,
  panelWidth,
  reservePanels,
} from './product/panels.ts';

/**
 * Streaming mean and uncentred second moment E[u u^T] of rows of numbers, in Float64 whatever the rows are. Only the upper
 * triangle is accumulated. Two accumulators over different rows merge into what one over all rows would hold.
 */
export class SecondMoment {
  readonly width: number;
  private rowCount = 0;
  private readonly sum: Float64Array;
  /** Sums of products, [width, width], valid on and above the diagonal. */
  private readonly products: Float64Array;

  /** For rows of `width` numbers. Throws KvlrError 'invalid-argument'. */
  constructor(width: number) {
    requireCount('width', width);
    this.width = width;
    this.sum = new Float64Array(width);
    this.products = new Float64Array(width * width);
  }

  /**
   * An accumulator that goes on from stored moments: `secondMoment` [width, width] and `mean` [width] of `count` rows.
   * Throws KvlrError 'invalid-argument' when the lengths do not fit, 'non-finite'.
   */
  static fromParts(parts: { count: number; secondMoment: Float64Array; mean: Float64Array }): SecondMoment {
    const { count, secondMoment, mean } = parts;
    const width = mean.length;
    requireCount('count', count);
    if (secondMoment.length !== width * width) {
      throw new KvlrError('invalid-argument', {
        message: `expected a second moment of ${width}x${width} numbers for a mean of ${width}, got ${secondMoment.length}`,
        data: { width, length: secondMoment.length },
      });
    }
    requireFinite(secondMoment, width);
    requireFinite(mean, width);
    const result = new SecondMoment(width);
    result.rowCount = count;
    for (let i = 0; i < width; i += 1) result.sum[i] = mean[i]! * count;
    for (let index = 0; index < secondMoment.length; index += 1) result.products[index] = secondMoment[index]! * count;
    return result;
  }

  /** Rows seen so far. */
  get count(): number {
    return this.rowCount;
  }

  /**
   * Adds `rowCount` rows, row-major, [rowCount, width]. Nothing is added when one number is not finite.
   * Throws KvlrError 'invalid-argument', 'non-finite'.
   */
  add(rows: Float32Array | Float64Array, rowCount: number): void {
    requireCount('rowCount', rowCount);
    const { width, products, sum } = this;
    if (rows.length !== rowCount * width) {
      throw new KvlrError('invalid-argument', {
        message: `expected ${rowCount} rows of ${width} numbers, got ${rows.length} numbers`,
        data: { rowCount, width, length: rows.length },
      });
    }
    requireFinite(rows, width);
    const memory = reservePanels(panelStorage(width, panelDepth));
    const panels = memory.subarray(firstPanel);
    for (let start = 0; start < rowCount; start += panelDepth) {
      const depth = Math.min(panelDepth, rowCount - start);
      packPanels(rows, width, 1, width, start, depth, panels);
      for (let row = 0; row < width; row += panelWidth) {
        for (let col = row; col < width; col += panelWidth) {
          multiplyReserved(firstPanel + row * depth, firstPanel + col * depth, depth);
          addBlock(memory, products, width, width, width, row, col);
        }
      }
    }
    for (let row = 0; row < rowCount; row += 1) {
      for (let col = 0; col < width; col += 1) sum[col]! += rows[row * width + col]!;
    }
    this.rowCount += rowCount;
  }

  /** Adds the rows that `other` has seen. Throws KvlrError 'invalid-argument' when the widths differ. */
  merge(other: SecondMoment): void {
    if (other.width !== this.width) {
      throw new KvlrError('invalid-argument', {
        message: `expected an accumulator of width ${this.width}, got width ${other.width}`,
        data: { expected: this.width, received: other.width },
      });
    }
    for (let i = 0; i < this.width; i += 1) this.sum[i]! += other.sum[i]!;
    for (let index = 0; index < this.products.length; index += 1) this.products[index]! += other.products[index]!;
    this.rowCount += other.rowCount;
  }

  /** E[u u^T], [width, width] row-major, exactly symmetric. Throws KvlrError 'invalid-argument' before the first row. */
  secondMoment(): Float64Array {
    this.requireRows();
    const { width, products, rowCount } = this;
    const result = new Float64Array(width * width);
    for (let row = 0; row < width; row += 1) {
      for (let col = row; col < width; col += 1) {
        const value = products[row * width + col]! / rowCount;
        result[row * width + col] = value;
        result[col * width + row] = value;
      }
    }
    return result;
  }

  /** E[u], [width]. Throws KvlrError 'invalid-argument' before the first row. */
  mean(): Float64Array {
    this.requireRows();
    return this.sum.map((value) => value / this.rowCount);
  }

  private requireRows(): void {
    if (this.rowCount === 0) {
      throw new KvlrError('invalid-argument', {
        message: `expected at least one row to have been added, got none`,
        hint: 'Call add or merge first.',
      });
    }
  }
}
