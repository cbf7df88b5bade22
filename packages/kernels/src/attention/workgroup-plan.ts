import { type LayerCacheLayout, slotWords } from '@kvlr/core';
import type { CacheFormat } from '../cache/cache-format.ts';
import type { DeviceTraits } from '../webgpu/device-traits.ts';

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
  return Math.ceil(width / slotWords(dtype).numbersPerWord);
}

export const DECODE_LANES = 128;
/** Entries that a team of lanes of decode attention reads at once. */
export const ENTRIES_AT_ONCE = 4;
/** Entries that are worth a workgroup of their own. */
export const LEAST_SPLIT = 64;
/** Entries that are worth it where the others fill the device already. */
const LONG_SPLIT = 256;
/** Parts up to which a cache that several heads of a workgroup read is divided further; joining more costs more than it evens out. */
const MOST_EVENING_SPLITS = 64;
/** Parts into which decode attention divides a cache at most. */
export const MOST_SPLITS = 128;
/** Running sums that a lane of decode attention may keep, so that they stay in registers. */
const DECODE_SUMS = 64;
/** Query heads of a workgroup of decode attention at most: each keeps the scores of four entries in registers. */
const MOST_HEADS = 8;
/** Words of a slot that a lane reads at once at most. */
export const FEW_WORDS = 8;
/** Numbers of a slot that a lane reads at most where there are lanes for more. */
const FEW_NUMBERS = 16;

/** Words that a lane loads at once: 16 bytes where every slot begins at a multiple of them, which those behind a header do not. */
export function wordsAtOnce({ keySlotWords, valueSlotWords, dtype }: CacheFormat): 1 | 4 {
  return slotWords(dtype).headerWords === 0 && keySlotWords % 4 === 0 && valueSlotWords % 4 === 0 ? 4 : 1;
}

export interface DecodePlan extends HeadShare {
  /** See `wordsAtOnce`. */
  atOnce: 1 | 4;
  /** Lanes that share an entry, each with every team-th load of its slots. */
  team: number;
  /** Words of a key slot, and of a value slot, that one lane reads. */
  keyWordsPerLane: number;
  valueWordsPerLane: number;
  /** Numbers of a query in workgroup memory, with the zeros behind it. */
  queryStride: number;
  /** Whether workgroup memory holds the queries; those of very wide slots are read where they lie. */
  holdsQueries: boolean;
  /** Numbers of workgroup memory for the queries, and later for the sums of all lanes. */
  numbers: number;
  /** Heads whose scores lanes exchange at once, where they have no subgroups. */
  headsAtOnce: number;
  /** Whether there is room to rotate the queries and to append the newest entry as well. */
  canAppend: boolean;
}

/** How decode attention divides the heads among workgroups, and an entry among lanes. */
export function planDecode(format: CacheFormat, numAttentionHeads: number, variants: number): DecodePlan {
  const { keySlotWidth, valueSlotWidth } = format.layout;
  const perWord = slotWords(format.dtype).numbersPerWord;
  const atOnce = wordsAtOnce(format);
  const loads = (width: number) => Math.ceil(numberWords(width, format) / atOnce);
  const [keyLoads, valueLoads] = [loads(keySlotWidth), loads(valueSlotWidth)];
  const planOf = (share: HeadShare): DecodePlan & { fits: boolean } => {
    const sums = (team: number) => share.heads * Math.ceil(valueLoads / team) * atOnce * perWord;
    const loadsOfSlot = Math.max(keyLoads, valueLoads);
    const isMuch = (lanes: number) => {
      const words = Math.ceil(loadsOfSlot / lanes) * atOnce;
      return sums(lanes) > DECODE_SUMS || words > FEW_WORDS || words * perWord > FEW_NUMBERS;
    };
    let team = 1;
    while (team < 32 && team < loadsOfSlot && (team < 8 || isMuch(team))) team *= 2;
    // More words than a few come in whole blocks of them.
    const wordsPerLane = (all: number) => {
      const words = Math.ceil(all / team) * atOnce;
      return words <= FEW_WORDS ? words : FEW_WORDS * Math.ceil(words / FEW_WORDS);
    };
    const keyWordsPerLane = wordsPerLane(keyLoads);
    const queryStride = keyWordsPerLane * team * perWord;
    const headsAtOnce = share.heads > 1 ? 2 : 1;
    const ofSums = share.heads * valueSlotWidth;
    const fixed = 4 * headsAtOnce * DECODE_LANES + 2 * (DECODE_LANES / team) * share.heads;
    const held = Math.max(variants * share.heads * queryStride, ofSums);
    const holdsQueries = fixed + held <= WORKGROUP_NUMBERS;
    const ofSlot = Math.max(keySlotWidth, valueSlotWidth) + 2 * DECODE_LANES;
    return {
      ...share,
      atOnce,
      team,
      keyWordsPerLane,
      valueWordsPerLane: wordsPerLane(valueLoads),
      queryStride,
      holdsQueries,
      numbers: holdsQueries ? held : ofSums,
      headsAtOnce,
      canAppend: holdsQueries && fixed + held + ofSlot <= WORKGROUP_NUMBERS,
      fits: share.heads <= MOST_HEADS && sums(team) <= DECODE_SUMS && holdsQueries,
    };
  };
  const share = shareHeads(format, numAttentionHeads, (candidate) => planOf(candidate).fits);
  const { fits: _, ...plan } = planOf(share);
  return plan;
}

/**
 * Numbers of a part, the share of one head in one split: its sums, padded to whole vec4s; from `scoreAt` on its highest score and its sum
 * of weights; two more, so that the next part begins at a vec4.
 */
export function partSize(valueSlotWidth: number): { scoreAt: number; partNumbers: number } {
  const scoreAt = 4 * Math.ceil(valueSlotWidth / 4);
  return { scoreAt, partNumbers: scoreAt + 4 };
}

/**
 * Parts into which a cache of so many places is divided, one workgroup each for every run of query heads. A multiprocessor runs four at once: of
 * a short cache as many as that, of a long one twice as many, which evens out that some come to an end before others. Never a few more,
 * which would begin when all others are done.
 */
export function splitsOf(
  capacity: number,
  { heads, headRuns, batch }: { heads: number; headRuns: number; batch: number },
  { workgroups }: DeviceTraits,
): number {
  const filling = (times: number, entries: number) =>
    Math.min(Math.floor((times * 2 * workgroups) / (headRuns * batch)), Math.ceil(capacity / entries));
  const evening = Math.min(filling(2, LONG_SPLIT), heads > 1 ? MOST_EVENING_SPLITS : MOST_SPLITS);
  return Math.max(1, Math.min(MOST_SPLITS, Math.max(filling(1, LEAST_SPLIT), evening)));
}

/**
 * Prefill attention takes `rows` rows (tokens times heads of one slot) over tiles of `entries` entries, 4 rows and 4 entries to each of
 * its lanes: lane 16 r + c has rows r, r + 8, r + 16 and r + 24.
 */
export const PREFILL_TILE = { rows: 32, entries: 64, rowLanes: 8, columnLanes: 16 } as const;
export const PREFILL_LANES = PREFILL_TILE.rowLanes * PREFILL_TILE.columnLanes;
/** Fours of a key slot that are in workgroup memory at once, and from one entry to the next: odd, so that they lie in different banks. */
export const KEY_FOURS = { atOnce: 4, stride: 5 } as const;
/** Running sums of a row that a lane of prefill attention keeps at most, in fours, so that they stay in registers. */
const MOST_PREFILL_SUMS = 4;
/** Fours of workgroup memory for keys and queries, and later for values: what the weights of a tile leave of 16 KiB. */
const STAGED_FOURS = 512;

export interface PrefillPlan {
  /** Workgroups that share the columns of a wide value slot; each computes all weights. */
  valueBlocks: number;
  /** Fours of the sum of a row that a lane keeps. */
  sumsOfLane: number;
  /** Entries whose values are in workgroup memory at once. */
  valueEntries: number;
}

/** How prefill attention divides the columns of a value slot. */
export function planPrefill({ layout }: CacheFormat): PrefillPlan {
  const { columnLanes } = PREFILL_TILE;
  const fours = Math.ceil(layout.valueSlotWidth / 4);
  const valueBlocks = Math.ceil(fours / (columnLanes * MOST_PREFILL_SUMS));
  const sumsOfLane = Math.ceil(fours / (columnLanes * valueBlocks));
  const valueEntries = 2 ** Math.floor(Math.log2(STAGED_FOURS / (columnLanes * sumsOfLane)));
  return { valueBlocks, sumsOfLane, valueEntries };
}

/** Fours of workgroup memory of a plan: those that are staged, and the weights of a tile. */
export function prefillFours({ sumsOfLane, valueEntries }: PrefillPlan) {
  const { rows, entries, columnLanes } = PREFILL_TILE;
  const keysAndQueries = entries * KEY_FOURS.stride + rows * KEY_FOURS.atOnce;
  return {
    staged: Math.max(keysAndQueries, valueEntries * columnLanes * sumsOfLane),
    weights: (rows * entries) / 4,
  };
}

/** Entries that are worth a workgroup of their own. */
const LEAST_PREFILL_SPLIT = 256;

/**
 * Parts into which the cache is divided, where a stretch of a prompt has too few rows to fill the device: for six workgroups on each
 * multiprocessor, so that some load while others compute.
 */
export function prefillSplits(entries: number, workgroups: number, device: DeviceTraits): number {
  const wanted = Math.ceil((3 * device.workgroups) / workgroups);
  return Math.max(1, Math.min(wanted, Math.floor(entries / LEAST_PREFILL_SPLIT)));
}

/** How the cache lies in memory, as constants of the attention shaders. */
export function cacheConstants(format: CacheFormat) {
  const { layout, dtype } = format;
  const { numbersPerWord, headerWords } = slotWords(dtype);
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
    headerSize: headerWords,
    perWord: numbersPerWord,
  };
}
