import { KvlrError } from '@kvlr/core';

/** bfloat16 bit patterns to float32. Exact. */
export function decodeBfloat16(patterns: Uint16Array): Float32Array {
  const bits = new Uint32Array(patterns.length);
  for (let i = 0; i < patterns.length; i++) bits[i] = patterns[i]! << 16;
  return new Float32Array(bits.buffer);
}

/**
 * float32 to bfloat16, rounded to nearest, ties to even.
 * Throws KvlrError 'numerical' where a value would become infinite or is not finite.
 */
export function encodeBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const floats = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const patterns = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const bits = floats[i]!;
    const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
    if ((bits & 0x7f800000) === 0x7f800000 || (rounded & 0x7f80) === 0x7f80) {
      throw new KvlrError('numerical', {
        message: `encodeBfloat16: expected finite values within range, got ${values[i]} at element ${i}`,
        hint: 'Write these weights as F32.',
        data: { value: values[i], element: i },
      });
    }
    patterns[i] = rounded;
  }
  return patterns;
}
