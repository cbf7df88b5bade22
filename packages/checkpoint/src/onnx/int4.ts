import { decodeFloat16, encodeFloats } from '../dtypes.ts';
import { encodeGgufFloats } from '../gguf/blocks.ts';
import type { OnnxTensor } from './format.ts';

/** Numbers that share a scale. */
export const int4BlockSize = 32;
const blockBytes = 18;

/**
 * A matrix [out, in] as the inputs of ONNX Runtime's MatMulNBits: blocks [out, in / 32, 16 bytes], two numbers a byte, the first in
 * its low half, and a scale for each block. A number is scale * (q - 8). They are the numbers of GGUF's Q4_0, so that one model is the
 * same in both. Rows that end within a block are filled up with zeros.
 */
export function int4Tensors(
  name: string,
  [outputs, inputs]: readonly [number, number],
  read: () => Promise<Float32Array>,
): { blocks: OnnxTensor; scales: OnnxTensor } {
  const blocksPerRow = Math.ceil(inputs / int4BlockSize);
  const encoded = async () =>
    encodeGgufFloats('Q4_0', padded(await read(), inputs, blocksPerRow * int4BlockSize), name);
  return {
    blocks: {
      name: `${name}_Q4`,
      dtype: 'U8',
      shape: [outputs, blocksPerRow, int4BlockSize / 2],
      write: async (sink) => sink.write(neighbouringHalves(await encoded())),
    },
    scales: {
      name: `${name}_scales`,
      dtype: 'F32',
      shape: [outputs * blocksPerRow],
      write: async (sink) => sink.write(encodeFloats('F32', scalesOf(await encoded()), name)),
    },
  };
}

/** Rows of another width, with zeros at their ends. */
function padded(matrix: Float32Array, width: number, newWidth: number): Float32Array {
  if (width === newWidth) return matrix;
  const rows = matrix.length / width;
  const result = new Float32Array(rows * newWidth);
  for (let row = 0; row < rows; row++) result.set(matrix.subarray(row * width, (row + 1) * width), row * newWidth);
  return result;
}

/** A block of Q4_0 has a binary16 scale, then 16 bytes: numbers 0 to 15 in their low halves, 16 to 31 in the high ones. */
function neighbouringHalves(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const blocks = bytes.length / blockBytes;
  const result = new Uint8Array(blocks * 16);
  for (let block = 0; block < blocks; block++) {
    const from = block * blockBytes + 2;
    for (let i = 0; i < 8; i++) {
      const [first, second] = [bytes[from + 2 * i]!, bytes[from + 2 * i + 1]!];
      result[block * 16 + i] = (first & 15) | ((second & 15) << 4);
      result[block * 16 + 8 + i] = (first >> 4) | (second & 0xf0);
    }
  }
  return result;
}

function scalesOf(bytes: Uint8Array): Float32Array {
  const halves = new Uint16Array(bytes.length / blockBytes);
  for (let block = 0; block < halves.length; block++) {
    halves[block] = bytes[block * blockBytes]! | (bytes[block * blockBytes + 1]! << 8);
  }
  return decodeFloat16(halves);
}
