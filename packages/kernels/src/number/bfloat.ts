const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

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
