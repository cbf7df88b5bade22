const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

/** The IEEE 754 half nearest to a number, ties to even, as 16 bits. Beyond 65504 it becomes an infinity. */
export function toHalf(value: number): number {
  floats[0] = value;
  const word = bits[0]!;
  const sign = (word >>> 16) & 0x8000;
  const magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    // Exponent 127 becomes 15; what is cut off rounds up when it is above one half, or exactly that and the rest odd.
    return sign | ((magnitude - 0x38000000 + 0x0fff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  // A subnormal half counts units of 2^-24; adding 0.5 leaves exactly those units in the low bits, rounded by the addition.
  floats[0] = Math.abs(value) + 0.5;
  return sign | (bits[0]! - 0x3f000000);
}

/** The number that 16 bits mean as an IEEE 754 half. */
export function fromHalf(half: number): number {
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  const sign = half & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let table: Float32Array | undefined;

/** The numbers that the 65,536 halves stand for, by their bits. Looking one up is several times faster than computing it. */
export function halfTable(): Float32Array {
  table ??= Float32Array.from({ length: 65536 }, (_, half) => fromHalf(half));
  return table;
}

/** The nearest half as bits; beyond the range the greatest finite one. */
export function toFiniteHalf(value: number): number {
  return toHalf(Math.max(-65504, Math.min(65504, value)));
}

/** The upper half of a float32: 16 bits with its whole exponent and 8 significant bits. */
export function toBfloat(value: number, rounding: 'up' | 'down'): number {
  floats[0] = value;
  const word = bits[0]!;
  // Growing the magnitude is up for positive numbers and down for negative ones.
  const grows = (rounding === 'up') === word < 0x80000000;
  return (grows ? word + 0xffff : word) >>> 16;
}

/** The number that 16 bits mean as the upper half of a float32. */
export function fromBfloat(upper: number): number {
  bits[0] = upper << 16;
  return floats[0]!;
}
