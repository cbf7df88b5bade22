import { KvlrError } from '@kvlr/core';
import { encodeBfloat16 } from './bfloat16.ts';
import { encodeFloat16 } from './float16.ts';

/** The element types in which weights are written. */
export type WeightDtype = 'F32' | 'F16' | 'BF16';

/** float32 as little-endian bytes, rounded to nearest even. Throws 'numerical' on overflow. */
export function encodeFloats(dtype: WeightDtype, values: Float32Array): Uint8Array<ArrayBuffer> {
  switch (dtype) {
    case 'F32':
      return new Uint8Array(new Float32Array(values).buffer);
    case 'F16':
      return new Uint8Array(encodeFloat16(values).buffer);
    case 'BF16':
      return new Uint8Array(encodeBfloat16(values).buffer);
  }
}

/** `encodeFloats` whose errors name the tensor. */
export function encodeFloatsOf(tensor: string, dtype: WeightDtype, values: Float32Array): Uint8Array<ArrayBuffer> {
  try {
    return encodeFloats(dtype, values);
  } catch (error) {
    if (!KvlrError.isInstance(error)) throw error;
    throw new KvlrError(error.code, {
      message: `${error.message} of ${tensor}`,
      hint: error.hint,
      data: { ...error.data, tensor, wanted: dtype },
      cause: error,
    });
  }
}
