import type { EntryDtype } from '@kvlr/core';
import type { HostCache } from './dtypes/slot-dtype.ts';
import { slotDtypes } from './dtypes/slot-dtypes.ts';

/** Both views of the same memory. */
export function viewCache(words: Int32Array): HostCache {
  return { words, floats: new Float32Array(words.buffer, words.byteOffset, words.length) };
}

/** Writes `width` numbers of `values` from `from` on as one slot of the cache that begins at word `at`. */
export function encodeSlot(
  cache: HostCache,
  at: number,
  dtype: EntryDtype,
  values: Float32Array,
  from: number,
  width: number,
): void {
  slotDtypes[dtype].encode(cache, at, values, from, width);
}

/** Reads the slot that begins at word `at` into `width` numbers of `values` from `to` on. */
export function decodeSlot(
  cache: HostCache,
  at: number,
  dtype: EntryDtype,
  values: Float32Array,
  to: number,
  width: number,
): void {
  slotDtypes[dtype].decode(cache, at, values, to, width);
}
