import { fromBfloat } from '../number/bfloat.ts';
import { fromHalf } from '../number/half.ts';
import type { PackedRows } from './pack-weights.ts';
import { groupSize, rowLayout } from './weight-format.ts';

/** The row-major values [rows, columns] that packed rows mean: what every kernel computes with. */
export function unpackWeights(packed: PackedRows): Float32Array {
  const values = new Float32Array(packed.rows * packed.columns);
  for (let row = 0; row < packed.rows; row++) {
    unpackRow(packed, row, values.subarray(row * packed.columns, (row + 1) * packed.columns));
  }
  return values;
}

/** Writes one row of packed values to `into`, which holds as many numbers as there are columns. */
export function unpackRow(packed: PackedRows, row: number, into: Float32Array): void {
  const { format, words, scales } = packed;
  const columns = into.length;
  const layout = rowLayout(format, packed.columns);
  const first = row * layout.words;
  const firstScale = row * layout.scaleWords;
  if (format === 'f32') {
    into.set(words.subarray(first, first + columns));
  } else if (format === 'f16') {
    for (let column = 0; column < columns; column++) {
      into[column] = fromHalf((words[first + (column >> 1)]! >>> (16 * (column & 1))) & 0xffff);
    }
  } else if (format === 'int8') {
    for (let column = 0; column < columns; column++) {
      const group = Math.floor(column / groupSize);
      const scale = fromBfloat((scales[firstScale + (group >> 1)]! >>> (16 * (group & 1))) & 0xffff);
      into[column] = scale * ((words[first + (column >> 2)]! << (24 - 8 * (column & 3))) >> 24);
    }
  } else {
    for (let column = 0; column < columns; column++) {
      const group = Math.floor(column / groupSize);
      const pair = scales[firstScale + group]!;
      const place = column % 16;
      const shift = 8 * (place & 3) + (column % groupSize >= 16 ? 4 : 0);
      const level = (words[first + 4 * group + (place >> 2)]! >>> shift) & 0xf;
      into[column] = fromBfloat(pair & 0xffff) * level + fromBfloat(pair >>> 16);
    }
  }
}
