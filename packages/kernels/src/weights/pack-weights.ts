import { KvlrError } from '@kvlr/core';
import { fromBfloat, toBfloat } from '../number/bfloat.ts';
import { toHalf } from '../number/half.ts';
import { groupSize, type RowLayout, rowLayout, type WeightFormat } from './weight-format.ts';

/** Packed rows in ordinary memory: what is written to the device, and what a saved quantised form holds. */
export interface PackedRows {
  format: WeightFormat;
  rows: number;
  columns: number;
  /** [rows, words of a row]; Float32Array for f32, else words of several numbers. */
  words: Float32Array | Int32Array;
  /** [rows, scale words of a row]; empty for f32 and f16. */
  scales: Int32Array;
}

/**
 * Packs row-major values [rows, columns]. Scales are rounded to 16 bits, upwards, before the numbers are divided by them, so
 * that unpacking gives the nearest multiples and nothing is cut off. Any range of rows may be packed by itself. A group of int4 spans from its least to its
 * greatest value. Within a group of 32, int4 word j holds columns 4j..4j+3 in the low halves of its bytes and columns
 * 16+4j..16+4j+3 in the high ones: a mask and a shift give vectors in the order of the columns.
 *
 * Throws 'tensor-shape' when values are not rows x columns, 'non-finite' for NaN, infinities and, in f16, beyond 65504.
 */
export function packWeights(values: Float32Array, rows: number, columns: number, format: WeightFormat): PackedRows {
  if (values.length !== rows * columns) {
    throw new KvlrError('tensor-shape', {
      message: `packWeights: expected ${rows} x ${columns} values, got ${values.length}`,
      data: { rows, columns, received: values.length },
    });
  }
  const layout = rowLayout(format, columns);
  const words = format === 'f32' ? new Float32Array(rows * layout.words) : new Int32Array(rows * layout.words);
  const packed: PackedRows = { format, rows, columns, words, scales: new Int32Array(rows * layout.scaleWords) };
  const padded = new Float32Array(layout.paddedColumns);
  for (let row = 0; row < rows; row++) {
    padded.set(values.subarray(row * columns, (row + 1) * columns));
    requireFinite(padded, format, row);
    if (format === 'f32') words.set(padded, row * layout.words);
    else if (format === 'f16') packHalves(padded, words as Int32Array, row * layout.words);
    else if (format === 'int8') packBytes(padded, columns, packed, row, layout);
    else packNibbles(padded, columns, packed, row, layout);
  }
  return packed;
}

function requireFinite(values: Float32Array, format: WeightFormat, row: number): void {
  const limit = format === 'f16' ? 65504 : Number.MAX_VALUE;
  for (let column = 0; column < values.length; column++) {
    if (Math.abs(values[column]!) <= limit) continue;
    throw new KvlrError('non-finite', {
      message: `packWeights: expected numbers of at most ${limit} for ${format}, got ${values[column]} at row ${row}, column ${column}`,
      hint: 'Use the format f32, or mend the checkpoint.',
      data: { row, column, value: values[column] },
    });
  }
}

function packHalves(values: Float32Array, words: Int32Array, start: number): void {
  for (let place = 0; place < values.length; place += 2) {
    words[start + place / 2] = toHalf(values[place]!) | (toHalf(values[place + 1]!) << 16);
  }
}

function packBytes(values: Float32Array, columns: number, packed: PackedRows, row: number, layout: RowLayout): void {
  const bytes = new Int8Array(packed.words.buffer, row * layout.words * 4, values.length);
  for (let first = 0, group = 0; first < columns; first += groupSize, group++) {
    let greatest = 0;
    for (let column = first; column < first + groupSize; column++) {
      greatest = Math.max(greatest, Math.abs(values[column]!));
    }
    const bits = toBfloat(greatest / 127, 'up');
    const scale = fromBfloat(bits);
    packed.scales[row * layout.scaleWords + (group >> 1)]! |= bits << (16 * (group & 1));
    for (let column = first; column < first + groupSize; column++) {
      bytes[column] = scale === 0 ? 0 : Math.round(values[column]! / scale);
    }
  }
}

function packNibbles(values: Float32Array, columns: number, packed: PackedRows, row: number, layout: RowLayout): void {
  const bytes = new Uint8Array(packed.words.buffer, row * layout.words * 4, values.length / 2);
  for (let first = 0, group = 0; first < columns; first += groupSize, group++) {
    // The padding takes no part in the range: activations are zero there.
    const end = Math.min(first + groupSize, columns);
    let least = values[first]!;
    let greatest = least;
    for (let column = first; column < end; column++) {
      least = Math.min(least, values[column]!);
      greatest = Math.max(greatest, values[column]!);
    }
    const offsetBits = toBfloat(least, 'down');
    const offset = fromBfloat(offsetBits);
    const scaleBits = toBfloat((greatest - offset) / 15, 'up');
    const scale = fromBfloat(scaleBits);
    packed.scales[row * layout.scaleWords + group] = scaleBits | (offsetBits << 16);
    const level = (column: number) =>
      scale === 0 ? 0 : Math.max(0, Math.min(15, Math.round((values[column]! - offset) / scale)));
    for (let place = 0; place < groupSize / 2; place++) {
      bytes[first / 2 + place] = level(first + place) | (level(first + 16 + place) << 4);
    }
  }
}
