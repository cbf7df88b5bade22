import { and, type Code, constant, multiplyFloats } from './instructions.ts';

/** 2^112: what a half's bits, moved to a float32's place, lack in exponent. It makes subnormal halves right as well. */
const halfFactor = 0x77800000;

/**
 * Floats from finite halves whose bits stand, sign-extended, 13 places up in a vector of integers. The sign then stands in the four
 * highest bits; the mask leaves one of them.
 */
export function halfToFloat(bits: Code): Code {
  return multiplyFloats(and(bits, constant(0x8fffe000)), constant(halfFactor));
}
