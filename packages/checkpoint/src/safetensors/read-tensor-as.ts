import { KvlrError, type TensorDtype, type TensorSource } from '@kvlr/core';
import { encodeFloatsOf } from '../dtypes/encode-floats.ts';

/**
 * Bytes of a tensor in the wanted type: the stored bytes where it has that type already, else rounded to nearest even.
 * Throws 'numerical' on overflow, naming the tensor.
 */
export async function readTensorAs(tensors: TensorSource, name: string, dtype: TensorDtype): Promise<Uint8Array> {
  const stored = tensors.info(name).dtype;
  if (stored === dtype) return tensors.readBytes(name);
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    throw new KvlrError('invalid-argument', {
      message: `readTensorAs: expected ${name} to be written as F32, F16 or BF16, got ${dtype} for a tensor of ${stored}`,
      data: { tensor: name, stored, wanted: dtype },
    });
  }
  return encodeFloatsOf(name, dtype, await tensors.readFloat32(name));
}
