import type { PositionShape } from './decoder-shape.ts';

/**
 * ALiBi (Press et al. 2022): what is added to the score of a key for a query head, slope times (key position - query position), positions
 * counted from 0. With `roundedScale` that factor times bfloat16(slope * position), the query's taken off, which softmax does not see.
 */
export function alibiPenalty(
  slope: number,
  { roundedScale }: Extract<PositionShape, { kind: 'alibi' }>,
): (key: number, query: number) => number {
  if (roundedScale === undefined) return (key, query) => slope * (key - query);
  return (key, query) => roundedScale * (roundToBfloat16(slope * key) - roundToBfloat16(slope * query));
}

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** The nearest number with the upper half of a float32's bits, of two the even one. */
export function roundToBfloat16(value: number): number {
  float[0] = value;
  const bits = word[0]!;
  word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return float[0];
}
