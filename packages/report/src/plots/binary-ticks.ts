/**
 * Multiples of a power of two from 0 to at most `highest`, for bytes and context lengths: more than `maxSteps / 2` and at
 * most `maxSteps` of them beside 0 where `highest` allows.
 */
export function binaryTicks(highest: number, maxSteps: number): number[] {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2(highest / maxSteps)));
  const count = Math.floor(highest / step);
  return Array.from({ length: count + 1 }, (_, index) => index * step);
}
