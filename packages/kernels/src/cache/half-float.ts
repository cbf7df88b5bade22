const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
let table: Float32Array | undefined;

/** The nearest half (IEEE 754 binary16, ties to even) of a number, as 16 bits. Beyond the range: the greatest finite half. */
export function toHalf(value: number): number {
  float[0] = Math.max(-65504, Math.min(65504, value));
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude >= 0x38800000) {
    // A normal half: the exponent moves by 112, 13 bits of the fraction go.
    const rounded = magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1);
    return sign | (rounded >>> 13);
  }
  // A multiple of 2^-24: adding 0.5 lets float32 itself round to it.
  float[0] = Math.abs(float[0]!) + 0.5;
  return sign | (bits[0]! - 0x3f000000);
}

/** The numbers that the 65,536 halves stand for, by their bits. Looking one up is several times faster than computing it. */
export function halfTable(): Float32Array {
  if (table === undefined) {
    table = new Float32Array(65536);
    for (let half = 0; half < 65536; half++) table[half] = fromHalf(half);
  }
  return table;
}

function fromHalf(half: number): number {
  const exponent = (half >>> 10) & 31;
  const fraction = half & 1023;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
