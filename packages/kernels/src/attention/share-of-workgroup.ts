import type { LayerCacheLayout } from '@kvlr/core';
import type { CacheFormat } from '../cache/cache-format.ts';
import { numbersPerWord } from '../cache/slot-shader.ts';

/** Numbers of workgroup memory to plan with: what every WebGPU device grants (16 KiB), less room for small things. */
export const WORKGROUP_NUMBERS = 3900;

/** The query heads that one workgroup serves, and the slots that they read. */
export interface HeadShare {
  heads: number;
  keySlots: number;
  valueSlots: number;
}

/**
 * The largest run of query heads that may share a workgroup, so that it reads each of its slots once for all of them: the heads
 * of one slot, or of as many slots as a wider slot of the other kind serves. Fewer where `fits` refuses.
 */
export function shareHeads(
  format: CacheFormat,
  numAttentionHeads: number,
  fits: (share: HeadShare) => boolean,
): HeadShare {
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
export function numberWords(width: number, { dtype }: CacheFormat): number {
  return Math.ceil(width / numbersPerWord[dtype]);
}
