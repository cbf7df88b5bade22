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
