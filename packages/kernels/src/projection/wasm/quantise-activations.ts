import { groupSize } from '../../weights/weight-format.ts';

/** 32-bit words that a quantised row takes: two numbers each, then two floats per group. */
export function quantisedWords(paddedColumns: number): number {
  return paddedColumns / 2 + (2 * paddedColumns) / groupSize;
}

/**
 * Writes a row of activations as 16-bit whole numbers, and behind them per group of 32 the scale and a quarter of the
 * group's sum (four equal places of a vector add up to the whole). The error is at most 2^-16 of a group's greatest
 * magnitude: 2^-9 of what 8-bit weights have of their own.
 */
export function quantiseActivations(x: Float32Array, into: Int32Array): void {
  const numbers = new Int16Array(into.buffer, into.byteOffset, x.length);
  const scales = new Float32Array(into.buffer, into.byteOffset + x.length * 2, (2 * x.length) / groupSize);
  for (let first = 0, place = 0; first < x.length; first += groupSize, place += 2) {
    let greatest = 0;
    for (let column = first; column < first + groupSize; column++) greatest = Math.max(greatest, Math.abs(x[column]!));
    const scale = greatest / 32767;
    const inverse = scale > 0 ? 1 / scale : 0;
    let sum = 0;
    for (let column = first; column < first + groupSize; column++) {
      const number = Math.round(x[column]! * inverse);
      numbers[column] = number;
      sum += number;
    }
    scales[place] = scale;
    scales[place + 1] = (sum * scale) / 4;
  }
}
