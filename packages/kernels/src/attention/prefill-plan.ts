import type { CacheFormat } from '../cache/cache-format.ts';
import { WORKGROUP_NUMBERS } from './share-of-workgroup.ts';

export const PREFILL_LANES = 128;
/** Running sums that a lane may keep, so that they stay in registers. */
const MAX_SUMS = 32;
const MIN_TILE = 8;

export interface PrefillPlan {
  /** Query rows (tokens times heads of one slot) of a workgroup. */
  rows: number;
  /** Entries of the cache in workgroup memory at once. */
  tile: number;
}

/** The largest square-like tiles that fit in workgroup memory. */
export function planPrefill({ layout }: CacheFormat, variants: number): PrefillPlan {
  const { keySlotWidth, valueSlotWidth } = layout;
  const widest = Math.max(keySlotWidth, valueSlotWidth);
  const numbers = (rows: number, tile: number) => rows * (variants * keySlotWidth + tile + 3) + tile * (widest + 1);
  const sumsFit = (rows: number) => rows * valueSlotWidth <= PREFILL_LANES * MAX_SUMS;
  const sizes = [32, 16, 8, 4, 2, 1];
  for (const least of [MIN_TILE, 1]) {
    for (const rows of sizes) {
      const tile = sizes.find((candidate) => numbers(rows, candidate) <= WORKGROUP_NUMBERS);
      if (tile !== undefined && tile >= least && sumsFit(rows)) return { rows, tile };
    }
  }
  return { rows: 1, tile: 1 };
}
