import { gaussianLevels } from '@kvlr/cache';
import { BLOCK_TOKENS, cacheBlockWords, KvlrError, type LayerCacheLayout } from '@kvlr/core';
import type { GpuShape } from '../../webgpu/program.ts';

/** Bits of a code in a block. */
export type BlockBits = 2 | 3 | 4;

/**
 * How full blocks of one layer lie in their tensor of words, int32 [batch, blocks, blockWords]. A block holds 32 tokens, one slot behind
 * another. Of a slot: for each channel of the keys a word with scale (low half) and least number, then for each channel the codes of the
 * 32 tokens, `bits` words; gains of the values of the 32 tokens, two halves in a word, then for each channel of the rotated values
 * the codes. Keys are before RoPE.
 */
export interface BlockFormat {
  readonly kind: 'channel';
  readonly layout: LayerCacheLayout;
  readonly bits: BlockBits;
  /** Slots, each of a key and a value of `width` numbers. */
  readonly slots: number;
  readonly width: number;
  /** Of a slot: where its keys' codes, its gains and its values' codes begin, and its end. */
  readonly keyCodes: number;
  readonly gains: number;
  readonly valueCodes: number;
  readonly slotWords: number;
  readonly blockWords: number;
}

/** The format of a layer's blocks. Throws 'unsupported-feature' for keys that are not a projection's, and for odd widths. */
export function createBlockFormat(layout: LayerCacheLayout, bits: BlockBits): BlockFormat {
  const { keys, keySlots, keySlotWidth, valueSlots, valueSlotWidth } = layout;
  if (keys !== 'stock' || keySlots !== valueSlots || keySlotWidth !== valueSlotWidth || keySlotWidth % 2 !== 0) {
    throw new KvlrError('unsupported-feature', {
      message: `expected KV heads of even width with a key and a value each, which channel-${bits} stores before RoPE, got ${keys} keys, ${keySlots} of ${keySlotWidth} and ${valueSlots} of ${valueSlotWidth}.`,
      hint: 'Take another dtype for the cache, such as int4.',
      data: { layout },
    });
  }
  const width = keySlotWidth;
  const keyCodes = width;
  const gains = keyCodes + width * bits;
  const valueCodes = gains + BLOCK_TOKENS / 2;
  const slotWords = valueCodes + width * bits;
  return {
    kind: 'channel',
    ...{ layout, bits, slots: keySlots, width },
    ...{ keyCodes, gains, valueCodes, slotWords, blockWords: cacheBlockWords(layout, `channel-${bits}`) },
  };
}

/** What shaders over blocks are found by. */
export function blockShape({ bits, slots, width }: BlockFormat): GpuShape {
  return [bits, slots, width];
}

/** Whole numbers that levels are rounded to: whole numbers of 14 bits with a sign, so that vectors multiply them exactly. */
const LEVEL_UNITS = 2 ** 13 - 1;

/**
 * What the codes of rotated values stand for: the levels of least mean squared error for a unit Gaussian (Max 1960), as multiples of
 * `unit` up to 8,191, which moves them by less than 2e-4.
 */
export function valueLevels(bits: BlockBits): { units: Int16Array; unit: number } {
  const { levels } = gaussianLevels(bits);
  const unit = levels.at(-1)! / LEVEL_UNITS;
  return { units: Int16Array.from(levels, (level) => Math.round(level / unit)), unit };
}

/**
 * The part of a channel's codes that lies in so many bits of each token: 4 bits in four words, 2 in two, 1 in one. Code n stands in byte
 * n mod (4 bits), in the bits from bits * floor(n / (4 bits)) on, so that 16 neighbours are what one mask leaves of a vector.
 */
export interface CodePlane {
  bits: 1 | 2 | 4;
  /** Words before it. */
  offset: number;
  /** Bits that its codes stand above those of the planes before. */
  shift: number;
}

/** Planes of codes of 1 to 8 bits: lower bits first, as many in a plane as there can be. Of three bits two, then the highest. */
export function codePlanes(bits: number): CodePlane[] {
  const planes: CodePlane[] = [];
  for (let shift = 0; shift < bits; ) {
    const left = bits - shift;
    const ofPlane = left >= 4 ? 4 : left >= 2 ? 2 : 1;
    planes.push({ bits: ofPlane, offset: shift, shift });
    shift += ofPlane;
  }
  return planes;
}
