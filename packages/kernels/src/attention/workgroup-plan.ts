import type { LayerCacheLayout } from '@kvlr/core';
import type { CacheFormat } from '../cache/cache-format.ts';
import { headerWords, numbersPerWord } from '../cache/slot-codec-webgpu.ts';

/** Numbers of workgroup memory to plan with: what every WebGPU device grants (16 KiB), less room for small things. */
const WORKGROUP_NUMBERS = 3900;

/** The query heads that one workgroup serves, and the slots that they read. */
interface HeadShare {
  heads: number;
  keySlots: number;
  valueSlots: number;
}

/**
 * The largest run of query heads that may share a workgroup, so that it reads each of its slots once for all of them: the heads
 * of one slot, or of as many slots as a wider slot of the other kind serves. Fewer where `fits` refuses.
 */
function shareHeads(format: CacheFormat, numAttentionHeads: number, fits: (share: HeadShare) => boolean): HeadShare {
  const { keySlots, valueSlots } = format.layout;
  const most = numAttentionHeads / greatestCommonDivisor(keySlots, valueSlots);
  const slotsOf = (heads: number, slots: number) => Math.max(1, (heads * slots) / numAttentionHeads);
  for (let heads = most; heads > 1; heads--) {
    const share = { heads, keySlots: slotsOf(heads, keySlots), valueSlots: slotsOf(heads, valueSlots) };
    const even = (slots: number) => Number.isInteger(heads / slots) && Number.isInteger(slots);
    const aligned = [keySlots, valueSlots].every(
      (slots) => (heads * slots) % numAttentionHeads === 0 || (numAttentionHeads / slots) % heads === 0,
    );
    if (numAttentionHeads % heads === 0 && aligned && even(share.keySlots) && even(share.valueSlots) && fits(share)) {
      return share;
    }
  }
  return { heads: 1, keySlots: 1, valueSlots: 1 };
}

/** Query heads that read the same key slot and the same value slot. */
export function headsOfOneSlot({ keySlots, valueSlots }: LayerCacheLayout, numAttentionHeads: number): number {
  return (numAttentionHeads * greatestCommonDivisor(keySlots, valueSlots)) / (keySlots * valueSlots);
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Words of a slot that hold numbers. */
function numberWords(width: number, { dtype }: CacheFormat): number {
  return Math.ceil(width / numbersPerWord[dtype]);
}

export const DECODE_LANES = 128;
/** Running sums that a lane of decode attention may keep, so that they stay in registers. */
const DECODE_SUMS = 64;

export interface DecodePlan extends HeadShare {
  /** Entries that one workgroup reads. */
  chunk: number;
  /** Entries whose keys lie in workgroup memory at once. */
  tile: number;
  /** Whether workgroup memory holds the queries; those of very wide slots are read where they lie. */
  holdsQueries: boolean;
  /** Numbers of workgroup memory for keys, and later for the sums of all lanes. */
  scratch: number;
  /** Words of values that one lane reads of an entry. */
  wordsPerLane: number;
  /** Entries whose values are read side by side. */
  entryGroups: number;
}

/** How decode attention divides a cache among workgroups. */
export function planDecode(format: CacheFormat, numAttentionHeads: number, variants: number): DecodePlan {
  const { keySlotWidth, valueSlotWidth } = format.layout;
  const wordsPerLane = (share: HeadShare) =>
    Math.ceil((share.valueSlots * numberWords(valueSlotWidth, format)) / DECODE_LANES);
  const sums = (share: HeadShare) =>
    wordsPerLane(share) * numbersPerWord[format.dtype] * (share.heads / share.valueSlots);
  const numbers = (share: HeadShare, chunk: number, tile: number) =>
    share.heads * (variants * keySlotWidth + chunk) + scratchOf(format, share, tile);
  const share = shareHeads(
    format,
    numAttentionHeads,
    (candidate) => sums(candidate) <= DECODE_SUMS && numbers(candidate, 64, 4) <= WORKGROUP_NUMBERS,
  );
  // More query heads on a chunk write more partial results: a longer one makes up for them.
  const chunk = share.heads >= 4 && numbers(share, 128, 8) <= WORKGROUP_NUMBERS ? 128 : 64;
  let tile = 64;
  while (tile > 1 && numbers(share, chunk, tile) > WORKGROUP_NUMBERS) tile /= 2;
  const holdsQueries = numbers(share, chunk, tile) <= WORKGROUP_NUMBERS;
  const valueWords = share.valueSlots * numberWords(valueSlotWidth, format);
  return {
    ...share,
    chunk,
    tile,
    holdsQueries,
    scratch: scratchOf(format, share, tile),
    wordsPerLane: wordsPerLane(share),
    entryGroups: Math.max(1, Math.floor(DECODE_LANES / valueWords)),
  };
}

function scratchOf({ layout }: CacheFormat, share: HeadShare, tile: number): number {
  return Math.max(tile * (share.keySlots * layout.keySlotWidth + 1), share.heads * layout.valueSlotWidth);
}

export const PREFILL_LANES = 128;
/** Running sums that a lane of prefill attention may keep, so that they stay in registers. */
const PREFILL_SUMS = 32;
const MIN_TILE = 8;

export interface PrefillPlan {
  /** Query rows (tokens times heads of one slot) of a workgroup. */
  rows: number;
  /** Entries of the cache in workgroup memory at once. */
  tile: number;
  /** Whether workgroup memory holds the queries; those of very wide slots are read where they lie. */
  holdsQueries: boolean;
}

/** The largest square-like tiles that fit in workgroup memory. */
export function planPrefill({ layout }: CacheFormat, variants: number): PrefillPlan {
  const { keySlotWidth, valueSlotWidth } = layout;
  const widest = Math.max(keySlotWidth, valueSlotWidth);
  const numbers = (rows: number, tile: number) => rows * (variants * keySlotWidth + tile + 3) + tile * (widest + 1);
  const sumsFit = (rows: number) => rows * valueSlotWidth <= PREFILL_LANES * PREFILL_SUMS;
  const sizes = [32, 16, 8, 4, 2, 1];
  for (const least of [MIN_TILE, 1]) {
    for (const rows of sizes) {
      const tile = sizes.find((candidate) => numbers(rows, candidate) <= WORKGROUP_NUMBERS);
      if (tile !== undefined && tile >= least && sumsFit(rows)) return { rows, tile, holdsQueries: true };
    }
  }
  return { rows: 1, tile: 1, holdsQueries: false };
}

/** How the cache lies in memory, as constants of the attention shaders. */
export function cacheConstants(format: CacheFormat) {
  const { layout, dtype } = format;
  return {
    allKeySlots: layout.keySlots,
    allValueSlots: layout.valueSlots,
    keySlotWidth: layout.keySlotWidth,
    valueSlotWidth: layout.valueSlotWidth,
    keySlotWords: format.keySlotWords,
    valueSlotWords: format.valueSlotWords,
    entryWords: format.entryWords,
    keyNumberWords: numberWords(layout.keySlotWidth, format),
    valueNumberWords: numberWords(layout.valueSlotWidth, format),
    headerSize: headerWords(dtype),
    perWord: numbersPerWord[dtype],
  };
}
