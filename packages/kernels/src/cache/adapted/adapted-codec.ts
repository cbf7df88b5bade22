import { nearestLevel } from '@kvlr/cache';
import { BLOCK_TOKENS, type CacheSide } from '@kvlr/core';
import { readCodes, writeCodes } from '../blocks/block-codec.ts';
import { type AdaptedFormat, levelsBefore, levelTables, tableParts, tableStart } from './adapted-format.ts';

const codes = new Uint8Array(BLOCK_TOKENS);

/** Writes one side of one slot of the block that begins at word `at`: rows of 32 tokens, [32, width], keys before RoPE. */
export function encodeAdaptedSlot(
  words: Int32Array,
  at: number,
  format: AdaptedFormat,
  [side, slot]: readonly [side: CacheSide, slot: number],
  rows: Float32Array,
): void {
  const { width } = format;
  const floats = floatsOf(format);
  const start = tableStart(format, side, slot);
  const { mean, forward } = tableParts(width);
  const { thresholds } = levelTables(format);
  for (const { bits, first, count, at: word } of format.runs[side][slot]!) {
    const from = thresholds + levelsBefore(bits);
    const quantiser = { thresholds: floats.subarray(from, from + 2 ** bits - 1) };
    for (let c = 0; c < count; c++) {
      const row = start + forward + (first + c) * width;
      for (let n = 0; n < BLOCK_TOKENS; n++) {
        let y = 0;
        for (let i = 0; i < width; i++) y += floats[row + i]! * (rows[n * width + i]! - floats[start + mean + i]!);
        codes[n] = nearestLevel(quantiser, y);
      }
      writeCodes(words, at + word + c * bits, bits, codes);
    }
  }
}

/** What the codes of one side of one slot stand for, in units of their deviations: [channels with codes, 32]. */
export function decodeLevels(
  words: Int32Array,
  at: number,
  format: AdaptedFormat,
  [side, slot]: readonly [side: CacheSide, slot: number],
  numbers: Float32Array,
): void {
  const floats = floatsOf(format);
  const { levels } = levelTables(format);
  for (const { bits, first, count, at: word } of format.runs[side][slot]!) {
    for (let c = 0; c < count; c++) {
      readCodes(words, at + word + c * bits, bits, codes);
      const to = (first + c) * BLOCK_TOKENS;
      for (let n = 0; n < BLOCK_TOKENS; n++) numbers[to + n] = floats[levels + levelsBefore(bits) + codes[n]!]!;
    }
  }
}

/** The rows that one side of one slot stands for, [32, width]. */
export function decodeAdaptedSlot(
  words: Int32Array,
  at: number,
  format: AdaptedFormat,
  part: readonly [side: CacheSide, slot: number],
  rows: Float32Array,
): void {
  const { width } = format;
  const floats = floatsOf(format);
  const start = tableStart(format, ...part);
  const { mean, backward } = tableParts(width);
  const numbers = new Float32Array(width * BLOCK_TOKENS);
  decodeLevels(words, at, format, part, numbers);
  const channels = codedChannels(format, ...part);
  for (let n = 0; n < BLOCK_TOKENS; n++) {
    for (let i = 0; i < width; i++) {
      let x = floats[start + mean + i]!;
      for (let c = 0; c < channels; c++) {
        x += floats[start + backward + i * width + c]! * numbers[c * BLOCK_TOKENS + n]!;
      }
      rows[n * width + i] = x;
    }
  }
}

/** Channels with codes of one slot. */
export function codedChannels({ runs }: AdaptedFormat, side: CacheSide, slot: number): number {
  return runs[side][slot]!.reduce((sum, { count }) => sum + count, 0);
}

function floatsOf({ tables }: AdaptedFormat): Float32Array {
  return new Float32Array(tables.buffer, tables.byteOffset, tables.length);
}
