import { KvlrError, type TensorDtype } from '@kvlr/core';
import { decodeBfloat16 } from './bfloat16.ts';
import { decodeFloat16 } from './float16.ts';

/** Little-endian bytes of F64, F32, F16 or BF16 numbers as float32. Throws 'unsupported-feature' for other types. */
export function decodeFloats(dtype: TensorDtype, bytes: Uint8Array): Float32Array {
  switch (dtype) {
    case 'F64':
      return Float32Array.from(new Float64Array(alignedBuffer(bytes)));
    case 'F32':
      return new Float32Array(alignedBuffer(bytes));
    case 'F16':
      return decodeFloat16(new Uint16Array(alignedBuffer(bytes)));
    case 'BF16':
      return decodeBfloat16(new Uint16Array(alignedBuffer(bytes)));
    default:
      throw new KvlrError('unsupported-feature', {
        message: `decodeFloats: expected a weight of type F64, F32, F16 or BF16, got ${dtype}`,
        hint: 'Quantised weights are not read: use the unquantised checkpoint of this model.',
        data: { dtype },
      });
  }
}

/** A buffer of its own, since a view into a file may start at any byte and typed arrays may not. */
export function alignedBuffer(bytes: Uint8Array): ArrayBuffer {
  if (bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength) return bytes.buffer;
  return new Uint8Array(bytes).buffer;
}
