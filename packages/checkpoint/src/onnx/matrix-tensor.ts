import { encodeFloatsOf } from '../dtypes/encode-floats.ts';
import type { ByteSink } from '../files/byte-sink.ts';
import type { OnnxFloatDtype, OnnxTensor } from './onnx-format.ts';

/** Numbers that are turned and encoded at a time: beside the matrix itself, only so much is held. */
const numbersAtOnce = 1 << 22;
/** Side of the squares in which a matrix is turned, so that both sides stay in the processor's cache. */
const tile = 32;

/** A tensor that is written in the order in which it is stored. */
export function plainTensor(
  name: string,
  dtype: OnnxFloatDtype,
  shape: number[],
  read: () => Promise<Float32Array>,
): OnnxTensor {
  const write = async (sink: ByteSink): Promise<void> => {
    const values = await read();
    for (let start = 0; start < values.length; start += numbersAtOnce) {
      await sink.write(encodeFloatsOf(name, dtype, values.subarray(start, start + numbersAtOnce)));
    }
  };
  return { name, dtype, shape, write };
}

/** A matrix stored as [out, in], written as [in, out]: ONNX multiplies rows by it. */
export function transposedTensor(
  name: string,
  dtype: OnnxFloatDtype,
  [outputs, inputs]: readonly [number, number],
  read: () => Promise<Float32Array>,
): OnnxTensor {
  const rowsAtOnce = Math.max(1, Math.floor(numbersAtOnce / outputs));
  const write = async (sink: ByteSink): Promise<void> => {
    const matrix = await read();
    for (let first = 0; first < inputs; first += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, inputs - first);
      await sink.write(encodeFloatsOf(name, dtype, transposeColumns(matrix, outputs, inputs, first, rows)));
    }
  };
  return { name, dtype, shape: [inputs, outputs], write };
}

/** Columns [first, first + count) of a row-major matrix, as rows. */
function transposeColumns(
  matrix: Float32Array,
  height: number,
  width: number,
  first: number,
  count: number,
): Float32Array {
  const turned = new Float32Array(count * height);
  for (let top = 0; top < height; top += tile) {
    const bottom = Math.min(top + tile, height);
    for (let left = 0; left < count; left += tile) {
      const right = Math.min(left + tile, count);
      for (let row = top; row < bottom; row++) {
        const start = row * width + first;
        for (let column = left; column < right; column++) turned[column * height + row] = matrix[start + column]!;
      }
    }
  }
  return turned;
}
