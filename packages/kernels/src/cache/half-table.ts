import { fromHalf, toHalf } from '../number/half.ts';

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
