import { type DenseTensor, KvlrError, type TensorBundle } from '@kvlr/core';
import { alignedBuffer, requireLength } from '../dtypes.ts';
import { parseSafetensorsHeader, safetensorsHeaderLength } from './header.ts';
import { encodeSafetensors } from './write.ts';

/** A bundle as the bytes of one safetensors file: Float64Array as F64, Float32Array as F32, metadata in the header. */
export function encodeTensorBundle(bundle: TensorBundle): Uint8Array {
  const tensors = [...bundle.tensors].map(([name, { shape, data }]) => ({
    name,
    dtype: data instanceof Float64Array ? ('F64' as const) : ('F32' as const),
    shape,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }));
  for (const { name, shape } of tensors) requireLength(name, shape, bundle.tensors.get(name)!.data.length);
  return encodeSafetensors(tensors, bundle.metadata);
}

/** Reads what `encodeTensorBundle` wrote. `file` names the bytes in errors. Throws 'file-malformed', 'file-truncated'. */
export function decodeTensorBundle(bytes: Uint8Array, file = 'tensor bundle'): TensorBundle {
  const headerLength = safetensorsHeaderLength(bytes.subarray(0, 8), bytes.length, file);
  const header = parseSafetensorsHeader(bytes.subarray(8, 8 + headerLength), bytes.length, file);
  const tensors = new Map<string, DenseTensor>();
  for (const { name, dtype, shape, start, end } of header.tensors) {
    if (dtype !== 'F64' && dtype !== 'F32') {
      throw new KvlrError('file-malformed', {
        message: `expected numbers of type F64 or F32, got ${dtype}`,
        where: { file, tensor: name },
        data: { file, tensor: name, received: dtype },
      });
    }
    const buffer = alignedBuffer(bytes.subarray(start, end));
    tensors.set(name, { shape, data: dtype === 'F64' ? new Float64Array(buffer) : new Float32Array(buffer) });
  }
  return { metadata: header.metadata, tensors };
}
