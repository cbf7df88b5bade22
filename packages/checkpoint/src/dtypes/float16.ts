import { KvlrError } from '@kvlr/core';

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);
let decodeTable: Float32Array | undefined;

/** IEEE 754 binary16 bit patterns to float32. Exact. */
export function decodeFloat16(halves: Uint16Array): Float32Array {
  decodeTable ??= Float32Array.from({ length: 65536 }, (_, bits) => halfValue(bits));
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) values[i] = decodeTable[halves[i]!]!;
  return values;
}

/**
 * float32 to IEEE 754 binary16, rounded to nearest, ties to even; subnormals kept.
 * Throws KvlrError 'numerical' where a value would become infinite (magnitude of 65520 and more) or is not finite.
 */
export function encodeFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const half = halfBits(values[i]!);
    if ((half & 0x7c00) === 0x7c00) {
      throw new KvlrError('numerical', {
        message: `encodeFloat16: expected magnitudes below 65520, got ${values[i]} at element ${i}`,
        hint: 'Write these weights as BF16 or F32.',
        data: { value: values[i], element: i },
      });
    }
    halves[i] = half;
  }
  return halves;
}

function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function halfBits(value: number): number {
  scratchFloat[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal halves are multiples of 2^-24: adding 0.5 aligns the float's last bit with that unit and rounds.
    scratchFloat[0] = Math.abs(value) + 0.5;
    return sign | (scratchBits[0]! - 0x3f000000);
  }
  const lastBit = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + lastBit) >>> 13);
}
