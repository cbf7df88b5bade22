/** 0 to count - 1. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}

/** A text for each number below a count. */
export function each(count: number, text: (n: number) => string, between = '\n'): string {
  return range(count).map(text).join(between);
}

/**
 * WGSL: four codes of so many bits as 1 + code / 2^bits, a vec4. They become the first bits of a mantissa, which takes half the time of
 * converting integers, and is exact.
 *
 * @param places Of each code an expression for its word, and its first bit there.
 */
export function codesAsFractions(bits: number, places: readonly (readonly [word: string, firstBit: number])[]): string {
  const shifted = places.map(([word, firstBit]) => {
    const shift = 23 - bits - firstBit;
    return `${word} ${shift < 0 ? '>>' : '<<'} ${Math.abs(shift)}u`;
  });
  const mask = (2 ** bits - 1) * 2 ** (23 - bits);
  return `bitcast<vec4<f32>>((vec4<u32>(${shifted.join(', ')}) & vec4<u32>(${mask}u)) | vec4<u32>(0x3f800000u))`;
}

/**
 * WGSL: the code of so many bits that begins at a bit of the low half of a word, and the one 16 bits above it, as 1 + code / 2^bits, a
 * vec2. They become the first bits of the mantissas of two halves, which is exact and takes half the operations on integers.
 */
export function codesAsHalves(bits: number, word: string, firstBit: number): string {
  const shift = 10 - bits - firstBit;
  const shifted = shift === 0 ? word : `(${word} ${shift < 0 ? '>>' : '<<'} ${Math.abs(shift)}u)`;
  const mask = (2 ** bits - 1) * 2 ** (10 - bits);
  return `unpack2x16float((${shifted} & ${mask * 0x10001}u) | 0x3c003c00u)`;
}
