import { cacheSlotWords, type EntryDtype, KvlrError, type LayerCacheLayout } from '@kvlr/core';
import type { GpuShape } from '../webgpu/program.ts';

/** Numbers of one slot that a workgroup may hold at once: half of the 16 KiB that every WebGPU device grants. */
const MAX_SLOT_WIDTH = 2048;

/**
 * How one layer's cache lies in its tensor of words, int32 [batch, capacity, entryWords]. A token's entry is its key slots, then
 * its value slots. Of a quantised slot the first word holds scale and offset as halves: number = offset + scale * code.
 */
export interface CacheFormat {
  readonly layout: LayerCacheLayout;
  readonly dtype: EntryDtype;
  readonly keySlotWords: number;
  readonly valueSlotWords: number;
  readonly entryWords: number;
}

/** Which places a sequence's entries take. */
export interface CacheWindow {
  /** Tokens kept besides the sinks; 0 keeps all. */
  readonly window: number;
  /** First tokens that are kept for good (Xiao et al. 2023, arXiv 2309.17453). */
  readonly sinks: number;
}

/**
 * What kernels are told of each sequence of a batch, a row of an int32 tensor [batch, 3]: tokens held before, new tokens, and by
 * how much places fall behind positions, where a cache that is no ring holds the last tokens of a longer sequence.
 */
export type SequenceRow = readonly [held: number, added: number, shift: number];

/** The row of one sequence, read on the host. */
export function sequenceAt(rows: Int32Array, sequence: number): { held: number; added: number; shift: number } {
  return { held: rows[3 * sequence]!, added: rows[3 * sequence + 1]!, shift: rows[3 * sequence + 2]! };
}

/** WGSL: a `SequenceRow`, for a binding of the type 'struct Sequence'. */
export const sequenceStruct = `
  struct Sequence {
    held: i32,
    added: i32,
    shift: i32,
  }`;

/**
 * What kernels are told of each slot of each sequence where slots hold tokens of their own, a row of an int32 tensor [batch * slots, 2]: the
 * place of the slot's first entry, and by how much its places fall behind positions, instead of the sequence's shift. The cache is then
 * [1, places, words] of single slots, a key and its value.
 */
export type SlotRow = readonly [first: number, shift: number];

/** WGSL: a `SlotRow`, for a binding of the type 'struct Slot'. */
export const slotStruct = `
  struct Slot {
    first: i32,
    shift: i32,
  }`;

/** The format of entries of one slot, a key and its value, where slots hold tokens of their own. */
export function formatOfSlot(format: CacheFormat): CacheFormat {
  const { layout, keySlotWords, valueSlotWords } = format;
  const ofOne = { ...layout, keySlots: 1, valueSlots: 1 };
  return { ...format, layout: ofOne, entryWords: keySlotWords + valueSlotWords };
}

/** The format of a layer's cache. Throws 'unsupported-feature' where a slot is too wide for a workgroup. */
export function createCacheFormat(layout: LayerCacheLayout, dtype: EntryDtype): CacheFormat {
  const widest = Math.max(layout.keySlotWidth, layout.valueSlotWidth);
  if (widest > MAX_SLOT_WIDTH) {
    throw new KvlrError('unsupported-feature', {
      message: `expected slots of at most ${MAX_SLOT_WIDTH} numbers, got ${widest}`,
      hint: 'Compress with one basis per group, or with a smaller rank.',
      data: { slotWidth: widest, limit: MAX_SLOT_WIDTH },
    });
  }
  const keySlotWords = cacheSlotWords(layout.keySlotWidth, dtype);
  const valueSlotWords = cacheSlotWords(layout.valueSlotWidth, dtype);
  const entryWords = layout.keySlots * keySlotWords + layout.valueSlots * valueSlotWords;
  return { layout, dtype, keySlotWords, valueSlotWords, entryWords };
}

/** The slots of one part of an entry: how many, how wide, words of each and before the first. */
export function slotsOf({ layout, keySlotWords, valueSlotWords }: CacheFormat, part: 'keys' | 'values') {
  const { keySlots, keySlotWidth, valueSlots, valueSlotWidth } = layout;
  return part === 'keys'
    ? { slots: keySlots, width: keySlotWidth, slotWords: keySlotWords, offset: 0 }
    : { slots: valueSlots, width: valueSlotWidth, slotWords: valueSlotWords, offset: keySlots * keySlotWords };
}

/** The place of a position in a cache: its own, or the next in the ring behind the sinks. */
export function entryOfPosition(position: number, { window, sinks }: CacheWindow): number {
  if (window === 0 || position < sinks) return position;
  return sinks + ((position - sinks) % window);
}

/** Entries that a sequence of so many tokens fills. */
export function entriesOfLength(length: number, { window, sinks }: CacheWindow): number {
  return window === 0 ? length : Math.min(length, window + sinks);
}

/** What shaders over a cache are found by: all of its format. */
export function formatShape({ layout, dtype }: CacheFormat): GpuShape {
  return [dtype, layout.keys, layout.keySlots, layout.keySlotWidth, layout.valueSlots, layout.valueSlotWidth];
}
