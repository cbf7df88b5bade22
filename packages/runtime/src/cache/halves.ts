import { halfTable, toHalf } from '@kvlr/core';
import type { CacheFormat } from '@kvlr/kernels';

/** Writes `width` numbers from `from` on as halves, two in a word, from word `at` on. */
export function packHalves(words: Int32Array, at: number, numbers: Float32Array, from: number, width: number): void {
  for (let c = 0; c < width; c++) {
    const half = toHalf(numbers[from + c]!) << (16 * (c & 1));
    words[at + (c >> 1)] = (c & 1) === 0 ? half : words[at + (c >> 1)]! | half;
  }
}

/** Reads what `packHalves` wrote into `numbers` from `to` on. */
function unpackHalves(words: Int32Array, at: number, numbers: Float32Array, to: number, width: number): void {
  const table = halfTable();
  for (let c = 0; c < width; c++) numbers[to + c] = table[(words[at + (c >> 1)]! >>> (16 * (c & 1))) & 0xffff]!;
}

/**
 * Keys and values of some tokens, [count, slots * width], out of entries in which every slot has its own places.
 *
 * @param ofSlot Format of one slot's entry.
 * @param placeOf Where a slot's entry of a token lies.
 */
export function unpackEntries(
  words: Int32Array,
  ofSlot: CacheFormat,
  { slots, count, placeOf }: { slots: number; count: number; placeOf(slot: number, token: number): number },
): { keys: Float32Array; values: Float32Array } {
  const { entryWords, keySlotWords, layout } = ofSlot;
  const { keySlotWidth, valueSlotWidth } = layout;
  const keys = new Float32Array(count * slots * keySlotWidth);
  const values = new Float32Array(count * slots * valueSlotWidth);
  for (let token = 0; token < count; token++) {
    for (let slot = 0; slot < slots; slot++) {
      const at = placeOf(slot, token) * entryWords;
      const row = token * slots + slot;
      unpackHalves(words, at, keys, row * keySlotWidth, keySlotWidth);
      unpackHalves(words, at + keySlotWords, values, row * valueSlotWidth, valueSlotWidth);
    }
  }
  return { keys, values };
}
