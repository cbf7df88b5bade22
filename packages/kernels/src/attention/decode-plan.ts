import type { CacheFormat } from '../cache/cache-format.ts';
import { numbersPerWord } from '../cache/slot-shader.ts';
import { type HeadShare, numberWords, shareHeads, WORKGROUP_NUMBERS } from './share-of-workgroup.ts';

export const DECODE_LANES = 128;
/** Running sums that a lane may keep, so that they stay in registers. */
const MAX_SUMS = 64;

export interface DecodePlan extends HeadShare {
  /** Entries that one workgroup reads. */
  chunk: number;
  /** Entries whose keys lie in workgroup memory at once. */
  tile: number;
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
    (candidate) => sums(candidate) <= MAX_SUMS && numbers(candidate, 64, 4) <= WORKGROUP_NUMBERS,
  );
  // More query heads on a chunk write more partial results: a longer one makes up for them.
  const chunk = share.heads >= 4 && numbers(share, 128, 8) <= WORKGROUP_NUMBERS ? 128 : 64;
  let tile = 64;
  while (tile > 1 && numbers(share, chunk, tile) > WORKGROUP_NUMBERS) tile /= 2;
  const valueWords = share.valueSlots * numberWords(valueSlotWidth, format);
  return {
    ...share,
    chunk,
    tile,
    scratch: scratchOf(format, share, tile),
    wordsPerLane: wordsPerLane(share),
    entryGroups: Math.max(1, Math.floor(DECODE_LANES / valueWords)),
  };
}

function scratchOf({ layout }: CacheFormat, share: HeadShare, tile: number): number {
  return Math.max(tile * (share.keySlots * layout.keySlotWidth + 1), share.heads * layout.valueSlotWidth);
}
