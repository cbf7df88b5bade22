import { type CacheFormat, slotsOf } from '../cache/cache-format.ts';
import { decodeSlot, viewCache } from '../cache/slot-codec.ts';
import { packWeights, unpackWeights, type WeightFormat } from '../weights/pack-weights.ts';

/** The values that a matrix has after packing: what kernels on packed weights are compared with. */
export function dequantised(values: Float32Array, rows: number, columns: number, format: WeightFormat): Float32Array {
  return unpackWeights(packWeights(values, rows, columns, format));
}

/** RMSNorm in Float64. */
export function oracleNorm(x: ArrayLike<number>, weight: ArrayLike<number>, epsilon: number): Float64Array {
  const columns = weight.length;
  const result = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += columns) {
    let squares = 0;
    for (let column = 0; column < columns; column++) squares += x[start + column]! ** 2;
    for (let column = 0; column < columns; column++) {
      result[start + column] = (x[start + column]! * weight[column]!) / Math.sqrt(squares / columns + epsilon);
    }
  }
  return result;
}

/** Every row of x [tokens, columns] times a matrix [rows, columns], in Float64: [tokens, rows]. */
export function oracleProduct(x: ArrayLike<number>, matrix: ArrayLike<number>, columns: number): Float64Array {
  const rows = matrix.length / columns;
  const result = new Float64Array((x.length / columns) * rows);
  for (let place = 0; place < result.length; place++) {
    const token = Math.floor(place / rows);
    const row = place % rows;
    for (let column = 0; column < columns; column++) {
      result[place]! += x[token * columns + column]! * matrix[row * columns + column]!;
    }
  }
  return result;
}

/** The numbers of the entry that begins at word `start` of a cache, as kernels are to see them. */
export function decodedEntry(
  words: Int32Array,
  format: CacheFormat,
  start: number,
): { keys: Float32Array; values: Float32Array } {
  const view = viewCache(words);
  const numbersOf = (part: 'keys' | 'values') => {
    const { slots, width, slotWords, offset } = slotsOf(format, part);
    const numbers = new Float32Array(slots * width);
    for (let slot = 0; slot < slots; slot++) {
      decodeSlot(view, start + offset + slot * slotWords, format.dtype, numbers, slot * width, width);
    }
    return numbers;
  };
  return { keys: numbersOf('keys'), values: numbersOf('values') };
}
