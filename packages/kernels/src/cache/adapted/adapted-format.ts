import { type FittedSide, gaussianLevels } from '@kvlr/cache';
import { type AdaptedDtype, type CacheSide, cacheBlockWords, KvlrError, type LayerCacheLayout } from '@kvlr/core';

const sides: readonly CacheSide[] = ['keys', 'values'];
const MOST_BITS = 8;
/** Levels of 1 to 8 bits one behind another: those of b bits begin at 2^b - 2. */
const LEVELS = 2 ** (MOST_BITS + 1) - 2;

/** Where the levels, and the thresholds, of b bits begin among those of all. */
export const levelsBefore = (bits: number): number => 2 ** bits - 2;

/** Neighbouring channels of equal bits. */
interface ChannelRun {
  bits: number;
  /** The first one, counted among those with codes, and how many there are. */
  first: number;
  count: number;
  /** Word of a block at which their codes begin. */
  at: number;
}

/**
 * How full blocks of one layer lie in their tensor of words, int32 [batch, blocks, blockWords], in bases that are fitted to the layer: a
 * block holds 32 tokens, the channels of the keys one slot behind another, then those of the values, each as many words as it has bits
 * (`codePlanes`). Keys are before RoPE.
 */
export interface AdaptedFormat {
  readonly kind: 'adapted';
  readonly layout: LayerCacheLayout;
  readonly dtype: AdaptedDtype;
  /** Slots, each of a key and a value of `width` numbers. */
  readonly slots: number;
  readonly width: number;
  readonly blockWords: number;
  /** Channels with codes of each slot. */
  readonly runs: Record<CacheSide, readonly (readonly ChannelRun[])[]>;
  /**
   * What kernels know of the bases, as words. For each side, keys first, and each slot: bits and 16 times the word of a block for each
   * channel with codes, padded with zeros, [width]; then as float32 the mean [width]; what makes numbers of codes, the basis times
   * deviations, [width, width], a column for each channel with codes; and what makes of numbers what codes are nearest to, its inverse
   * over deviations, [width, width], a row for each. Behind all of them the levels of codes of 1 to 8 bits, then their thresholds.
   */
  readonly tables: Int32Array;
}

/** Words of one slot of one side in the tables, and where its parts begin. */
export function tableParts(width: number) {
  return {
    mean: width,
    backward: 2 * width,
    forward: 2 * width + width * width,
    sideWords: 2 * width * (1 + width),
  };
}

/** Where a slot's part of the tables begins. */
export function tableStart({ slots, width }: AdaptedFormat, side: CacheSide, slot: number): number {
  return (sides.indexOf(side) * slots + slot) * tableParts(width).sideWords;
}

/** Where levels and thresholds begin in the tables. */
export function levelTables({ slots, width }: AdaptedFormat) {
  const levels = 2 * slots * tableParts(width).sideWords;
  return { levels, thresholds: levels + LEVELS };
}

/** The format of a layer's blocks. Throws 'unsupported-feature' for heads without a key and a value each. */
export function createAdaptedFormat(
  layout: LayerCacheLayout,
  dtype: AdaptedDtype,
  fitted: Record<CacheSide, FittedSide>,
): AdaptedFormat {
  const { keys, keySlots: slots, keySlotWidth: width, valueSlots, valueSlotWidth } = layout;
  if (keys !== 'stock' || slots !== valueSlots || width !== valueSlotWidth || width % 2 !== 0) {
    throw new KvlrError('unsupported-feature', {
      message: `expected KV heads of even width with a key and a value each for ${dtype}, got ${keys} keys, ${slots} of ${width} and ${valueSlots} of ${valueSlotWidth}.`,
      hint: 'Take another dtype for the cache, such as int4.',
      data: { layout },
    });
  }
  const { sideWords, ...parts } = tableParts(width);
  const tables = new Int32Array(2 * slots * sideWords + 2 * LEVELS);
  const floats = new Float32Array(tables.buffer);
  const runs: Record<CacheSide, ChannelRun[][]> = { keys: [], values: [] };
  let word = 0;
  for (const [place, side] of sides.entries()) {
    const { mean, bases, bits } = fitted[side];
    for (let slot = 0; slot < slots; slot++) {
      const start = (place * slots + slot) * sideWords;
      const { forward, backward, variances } = bases[slot]!;
      const ofSlot: ChannelRun[] = [];
      floats.set(mean.subarray(slot * width, (slot + 1) * width), start + parts.mean);
      let coded = 0;
      for (let c = 0; c < width; c++) {
        const count = bits[slot * width + c]!;
        if (count === 0) continue;
        tables[start + coded] = count + 16 * word;
        const deviation = Math.sqrt(variances[c]!);
        for (let i = 0; i < width; i++) {
          floats[start + parts.backward + i * width + coded] = deviation * backward.data[i * width + c]!;
          floats[start + parts.forward + coded * width + i] = forward.data[i * width + c]! / deviation;
        }
        const last = ofSlot.at(-1);
        if (last?.bits === count) last.count++;
        else ofSlot.push({ bits: count, first: coded, count: 1, at: word });
        coded++;
        word += count;
      }
      runs[side].push(ofSlot);
    }
  }
  const levels = 2 * slots * sideWords;
  for (let bits = 1; bits <= MOST_BITS; bits++) {
    const quantiser = gaussianLevels(bits);
    floats.set(quantiser.levels, levels + levelsBefore(bits));
    floats.set(quantiser.thresholds, levels + LEVELS + levelsBefore(bits));
  }
  return {
    kind: 'adapted',
    ...{ layout, dtype, slots, width, runs, tables },
    blockWords: cacheBlockWords(layout, dtype),
  };
}
