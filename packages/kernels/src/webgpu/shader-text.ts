/** 0 to count - 1. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n);
}

/** A text for each number below a count. */
export function each(count: number, text: (n: number) => string, between = '\n'): string {
  return range(count).map(text).join(between);
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
