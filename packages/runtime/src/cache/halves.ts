import { halfTable, toHalf } from '@kvlr/core';

/** Writes `width` numbers from `from` on as halves, two in a word, from word `at` on. */
export function packHalves(words: Int32Array, at: number, numbers: Float32Array, from: number, width: number): void {
  for (let c = 0; c < width; c++) {
    const half = toHalf(numbers[from + c]!) << (16 * (c & 1));
    words[at + (c >> 1)] = (c & 1) === 0 ? half : words[at + (c >> 1)]! | half;
  }
}

/** Reads what `packHalves` wrote into `numbers` from `to` on. */
export function unpackHalves(words: Int32Array, at: number, numbers: Float32Array, to: number, width: number): void {
  const table = halfTable();
  for (let c = 0; c < width; c++) numbers[to + c] = table[(words[at + (c >> 1)]! >>> (16 * (c & 1))) & 0xffff]!;
}
