import { gaussianLevels, hadamard, nearestLevel } from '@kvlr/cache';
import { BLOCK_TOKENS, halfTable, toFiniteHalf } from '@kvlr/core';
import { type BlockFormat, codePlanes, valueLevels } from './block-format.ts';
import type { BlockSlotCodec } from './block-moves.ts';

/** Writes the codes of 32 tokens as the words from `at` on. */
export function writeCodes(words: Int32Array, at: number, bits: number, codes: Uint8Array): void {
  words.fill(0, at, at + bits);
  for (const plane of codePlanes(bits)) {
    const bytes = 4 * plane.bits;
    const mask = 2 ** plane.bits - 1;
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      const byte = n % bytes;
      const place = 8 * (byte & 3) + plane.bits * Math.floor(n / bytes);
      words[at + plane.offset + (byte >> 2)]! |= ((codes[n]! >> plane.shift) & mask) << place;
    }
  }
}

/** Reads what `writeCodes` wrote. */
export function readCodes(words: Int32Array, at: number, bits: number, codes: Uint8Array): void {
  codes.fill(0);
  for (const plane of codePlanes(bits)) {
    const bytes = 4 * plane.bits;
    const mask = 2 ** plane.bits - 1;
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      const byte = n % bytes;
      const place = 8 * (byte & 3) + plane.bits * Math.floor(n / bytes);
      codes[n]! |= ((words[at + plane.offset + (byte >> 2)]! >>> place) & mask) << plane.shift;
    }
  }
}

const codes = new Uint8Array(BLOCK_TOKENS);

/**
 * Writes one slot of a block at word `at`: keys before RoPE and values of 32 tokens, float32 [32, width] each. Values are rotated by a
 * Hadamard matrix and stand for g times the levels nearest to them at unit variance, with the gain g of least squares.
 */
export function encodeBlockSlot(
  words: Int32Array,
  at: number,
  format: BlockFormat,
  keys: Float32Array,
  values: Float32Array,
): void {
  encodeKeys(words, at, format, keys);
  encodeValues(words, at, format, values);
}

function encodeKeys(words: Int32Array, at: number, { bits, width, keyCodes }: BlockFormat, keys: Float32Array): void {
  const halves = halfTable();
  const most = 2 ** bits - 1;
  for (let c = 0; c < width; c++) {
    let least = keys[c]!;
    let greatest = least;
    for (let n = 1; n < BLOCK_TOKENS; n++) {
      const value = keys[n * width + c]!;
      if (value < least) least = value;
      if (value > greatest) greatest = value;
    }
    const scaleBits = toFiniteHalf((greatest - least) / most);
    const leastBits = toFiniteHalf(least);
    words[at + c] = scaleBits | (leastBits << 16);
    const scale = halves[scaleBits]!;
    const inverse = scale > 0 ? 1 / scale : 0;
    for (let n = 0; n < BLOCK_TOKENS; n++) {
      const code = Math.round((keys[n * width + c]! - halves[leastBits]!) * inverse);
      codes[n] = Math.max(0, Math.min(most, code));
    }
    writeCodes(words, at + keyCodes + c * bits, bits, codes);
  }
}

function encodeValues(words: Int32Array, at: number, format: BlockFormat, values: Float32Array): void {
  const { bits, width, gains, valueCodes } = format;
  const quantiser = gaussianLevels(bits);
  const { units, unit } = valueLevels(bits);
  const all = new Uint8Array(BLOCK_TOKENS * width);
  const rotated = new Float64Array(width);
  for (let n = 0; n < BLOCK_TOKENS; n++) {
    for (let c = 0; c < width; c++) rotated[c] = values[n * width + c]!;
    hadamard(rotated, 0, width);
    const norm = Math.sqrt(rotated.reduce((sum, value) => sum + value * value, 0) / width);
    const inverse = norm > 0 ? 1 / norm : 0;
    let along = 0;
    let square = 0;
    for (let c = 0; c < width; c++) {
      const code = nearestLevel(quantiser, rotated[c]! * inverse);
      all[n * width + c] = code;
      const level = unit * units[code]!;
      along += level * rotated[c]!;
      square += level * level;
    }
    const gain = toFiniteHalf(along / square);
    const word = at + gains + (n >> 1);
    words[word] = n % 2 === 0 ? gain : words[word]! | (gain << 16);
  }
  for (let c = 0; c < width; c++) {
    for (let n = 0; n < BLOCK_TOKENS; n++) codes[n] = all[n * width + c]!;
    writeCodes(words, at + valueCodes + c * bits, bits, codes);
  }
}

/** The keys of a slot before RoPE, [32, width]. */
export function decodeBlockKeys(words: Int32Array, at: number, format: BlockFormat, keys: Float32Array): void {
  const { bits, width, keyCodes } = format;
  const halves = halfTable();
  for (let c = 0; c < width; c++) {
    const header = words[at + c]!;
    const scale = halves[header & 0xffff]!;
    const least = halves[header >>> 16]!;
    readCodes(words, at + keyCodes + c * bits, bits, codes);
    for (let n = 0; n < BLOCK_TOKENS; n++) keys[n * width + c] = least + scale * codes[n]!;
  }
}

/** The gain of one token's value. */
export function gainOf(words: Int32Array, at: number, { gains }: BlockFormat, n: number): number {
  return halfTable()[(words[at + gains + (n >> 1)]! >>> (16 * (n & 1))) & 0xffff]!;
}

/** The rotated values of a slot, [32, width], without their gains: multiples of the unit of `valueLevels`. */
export function decodeBlockLevels(words: Int32Array, at: number, format: BlockFormat, levels: Float32Array): void {
  const { bits, width, valueCodes } = format;
  const { units } = valueLevels(bits);
  for (let c = 0; c < width; c++) {
    readCodes(words, at + valueCodes + c * bits, bits, codes);
    for (let n = 0; n < BLOCK_TOKENS; n++) levels[n * width + c] = units[codes[n]!]!;
  }
}

/** The values of a slot as attention is to see them, [32, width]. */
export function decodeBlockValues(words: Int32Array, at: number, format: BlockFormat, values: Float32Array): void {
  const { width } = format;
  const { unit } = valueLevels(format.bits);
  decodeBlockLevels(words, at, format, values);
  const row = new Float64Array(width);
  for (let n = 0; n < BLOCK_TOKENS; n++) {
    const gain = gainOf(words, at, format, n) * unit;
    for (let c = 0; c < width; c++) row[c] = gain * values[n * width + c]!;
    hadamard(row, 0, width);
    values.set(row, n * width);
  }
}

/** The slots of a format's blocks. */
export function blockSlotCodec(format: BlockFormat): BlockSlotCodec {
  return {
    encode: (words, at, slot, keys, values) =>
      encodeBlockSlot(words, at + slot * format.slotWords, format, keys, values),
    decode(words, at, slot, keys, values) {
      const slotAt = at + slot * format.slotWords;
      decodeBlockKeys(words, slotAt, format, keys);
      decodeBlockValues(words, slotAt, format, values);
    },
  };
}
