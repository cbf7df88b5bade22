import type { SideFormat, SlotShape } from '@kvlr/core';
import { bytesOf, wordsOf } from '../numbers/bit-codes.ts';

/** How one token's slot is stored, by itself, in whole words. */
export interface SlotFormat {
  /** 32-bit words of a slot of `width` numbers. */
  words(width: number): number;
  /** Writes `width` numbers of `rows` from `from` on as the words from `at` on, which are zero. */
  encode(rows: Float32Array, from: number, width: number, words: Uint32Array, at: number): void;
  /** Reads the words from `at` on into `rows` from `to` on. */
  decode(words: Uint32Array, at: number, width: number, rows: Float32Array, to: number): void;
}

/** The format of a side whose slots are stored one by one, token by token: a token's slots lie side by side. */
export function slotwise(format: SlotFormat): SideFormat {
  const wordsOfToken = ({ slots, width }: SlotShape) => slots * format.words(width);
  return {
    blockTokens: 1,
    keys: 'rotated',
    needsStatistics: false,
    byteLength: (shape, tokens) => 4 * tokens * wordsOfToken(shape),
    create({ slots, width }) {
      const step = format.words(width);
      return {
        encode(rows, tokens) {
          const words = new Uint32Array(tokens * slots * step);
          for (let slot = 0; slot < tokens * slots; slot++)
            format.encode(rows, slot * width, width, words, slot * step);
          return bytesOf(words);
        },
        decode(bytes, tokens) {
          const words = wordsOf(bytes);
          const rows = new Float32Array(tokens * slots * width);
          for (let slot = 0; slot < tokens * slots; slot++)
            format.decode(words, slot * step, width, rows, slot * width);
          return rows;
        },
      };
    },
  };
}
