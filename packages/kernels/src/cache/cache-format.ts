import { type CacheDtype, cacheSlotWords, KvlrError, type LayerCacheLayout } from '@kvlr/core';

/** Numbers of one slot that a workgroup may hold at once: half of the 16 KiB that every WebGPU device grants. */
const MAX_SLOT_WIDTH = 2048;

/**
 * How one layer's cache lies in its tensor of words, int32 [batch, capacity, entryWords]. A token's entry is its key slots, then
 * its value slots. Of a quantised slot the first word holds scale and offset as halves: number = offset + scale * code.
 */
export interface CacheFormat {
  readonly layout: LayerCacheLayout;
  readonly dtype: CacheDtype;
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

/** The format of a layer's cache. Throws 'unsupported-feature' where a slot is too wide for a workgroup. */
export function createCacheFormat(layout: LayerCacheLayout, dtype: CacheDtype): CacheFormat {
  const widest = Math.max(layout.keySlotWidth, layout.valueSlotWidth);
  if (widest > MAX_SLOT_WIDTH) {
    throw new KvlrError('unsupported-feature', {
      message: `createCacheFormat: expected slots of at most ${MAX_SLOT_WIDTH} numbers, got ${widest}.`,
      hint: 'Compress with one basis per group, or with a smaller rank.',
      data: { slotWidth: widest, limit: MAX_SLOT_WIDTH },
    });
  }
  const keySlotWords = cacheSlotWords(layout.keySlotWidth, dtype);
  const valueSlotWords = cacheSlotWords(layout.valueSlotWidth, dtype);
  const entryWords = layout.keySlots * keySlotWords + layout.valueSlots * valueSlotWords;
  return { layout, dtype, keySlotWords, valueSlotWords, entryWords };
}

/** The place of a position in a cache: its own, or its turn in the ring behind the sinks. */
export function entryOfPosition(position: number, { window, sinks }: CacheWindow): number {
  if (window === 0 || position < sinks) return position;
  return sinks + ((position - sinks) % window);
}

/** Entries that a sequence of so many tokens fills. */
export function entriesOfLength(length: number, { window, sinks }: CacheWindow): number {
  return window === 0 ? length : Math.min(length, window + sinks);
}
