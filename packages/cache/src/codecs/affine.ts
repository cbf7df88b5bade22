import { type CacheCodec, halfTable, toFiniteHalf } from '@kvlr/core';
import { codeWords, packCodes, unpackCodes } from '../numbers/bit-codes.ts';
import { type SlotFormat, slotwise } from './token-format.ts';

/**
 * Codes of one token's slot between its least and its greatest number: a word with the scale (low half) and the least number (high
 * half), then the codes, as `packCodes` lays them. What `int8` and `int4` of @kvlr/kernels are.
 */
function affineSlot(bits: number): SlotFormat {
  const most = 2 ** bits - 1;
  return {
    words: (width) => 1 + codeWords(width, bits),
    encode(rows, from, width, words, at) {
      let least = rows[from]!;
      let greatest = least;
      for (let c = 1; c < width; c++) {
        const value = rows[from + c]!;
        if (value < least) least = value;
        if (value > greatest) greatest = value;
      }
      const { scale, offset, word } = affineScale(least, greatest, most);
      words[at] = word;
      const inverse = scale > 0 ? 1 / scale : 0;
      const codes = new Uint8Array(width);
      for (let c = 0; c < width; c++) {
        codes[c] = Math.max(0, Math.min(most, Math.round((rows[from + c]! - offset) * inverse)));
      }
      packCodes(codes, bits, words, at + 1);
    },
    decode(words, at, width, rows, to) {
      const halves = halfTable();
      const scale = halves[words[at]! & 0xffff]!;
      const offset = halves[words[at]! >>> 16]!;
      const codes = new Uint8Array(width);
      unpackCodes(words, at + 1, bits, codes);
      for (let c = 0; c < width; c++) rows[to + c] = offset + scale * codes[c]!;
    },
  };
}

/** Scale and offset of codes from 0 to `most`, rounded to halves as decoding sees them, and the word that holds both. */
export function affineScale(least: number, greatest: number, most: number) {
  const scaleBits = toFiniteHalf((greatest - least) / most);
  const offsetBits = toFiniteHalf(least);
  const halves = halfTable();
  return {
    scale: halves[scaleBits]!,
    offset: halves[offsetBits]!,
    word: (scaleBits | (offsetBits << 16)) >>> 0,
  };
}

const codec = (bits: number): CacheCodec => {
  const side = slotwise(affineSlot(bits));
  return { title: `${bits}-bit codes of each token and slot`, keys: side, values: side };
};

/** Affine codes of each token's slot. */
export const affineCodecs = { int8: codec(8), int4: codec(4) };
