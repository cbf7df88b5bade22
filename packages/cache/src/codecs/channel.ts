import { type CacheCodec, halfTable, type SideFormat, type SlotShape } from '@kvlr/core';
import { bytesOf, codeWords, packCodes, unpackCodes, wordsOf } from '../numbers/bit-codes.ts';
import { affineScale } from './affine.ts';
import { gaussianSlots } from './gaussian.ts';

/** Tokens of a block: 32 codes of b bits are b words. */
export const BLOCK = 32;

/**
 * Affine codes of each channel over 32 tokens, as in KIVI (arXiv 2402.02750): outliers of keys stay in few channels. A block is one
 * channel behind another: a word with the scale (low half) and the least number (high half), then b words of 32 codes.
 */
export function channelBlocks(bits: number, keys: SideFormat['keys']): SideFormat {
  const most = 2 ** bits - 1;
  const wordsOfBlock = ({ slots, width }: SlotShape) => slots * width * (1 + bits);
  return {
    blockTokens: BLOCK,
    keys,
    needsStatistics: false,
    byteLength: (shape, tokens) => 4 * (tokens / BLOCK) * wordsOfBlock(shape),
    create(shape) {
      const channels = shape.slots * shape.width;
      const codes = new Uint8Array(BLOCK);
      return {
        encode(rows, tokens) {
          const words = new Uint32Array((tokens / BLOCK) * wordsOfBlock(shape));
          let at = 0;
          for (let first = 0; first < tokens; first += BLOCK) {
            for (let channel = 0; channel < channels; channel++, at += 1 + bits) {
              const from = first * channels + channel;
              let least = rows[from]!;
              let greatest = least;
              for (let t = 1; t < BLOCK; t++) {
                const value = rows[from + t * channels]!;
                if (value < least) least = value;
                if (value > greatest) greatest = value;
              }
              const { scale, offset, word } = affineScale(least, greatest, most);
              words[at] = word;
              const inverse = scale > 0 ? 1 / scale : 0;
              for (let t = 0; t < BLOCK; t++) {
                const code = Math.round((rows[from + t * channels]! - offset) * inverse);
                codes[t] = Math.max(0, Math.min(most, code));
              }
              packCodes(codes, bits, words, at + 1);
            }
          }
          return bytesOf(words);
        },
        decode(bytes, tokens) {
          const words = wordsOf(bytes);
          const halves = halfTable();
          const rows = new Float32Array(tokens * channels);
          let at = 0;
          for (let first = 0; first < tokens; first += BLOCK) {
            for (let channel = 0; channel < channels; channel++, at += 1 + bits) {
              const scale = halves[words[at]! & 0xffff]!;
              const offset = halves[words[at]! >>> 16]!;
              unpackCodes(words, at + 1, bits, codes);
              const from = first * channels + channel;
              for (let t = 0; t < BLOCK; t++) rows[from + t * channels] = offset + scale * codes[t]!;
            }
          }
          return rows;
        },
      };
    },
  };
}

/** Affine codes of groups of 32 numbers of one token, as KIVI's values: a word with scale and least number, then the codes. */
export function tokenGroups(bits: number): SideFormat {
  const most = 2 ** bits - 1;
  const groupWords = 1 + codeWords(BLOCK, bits);
  const groupsOf = ({ slots, width }: SlotShape) => slots * Math.ceil(width / BLOCK);
  return {
    blockTokens: 1,
    keys: 'rotated',
    needsStatistics: false,
    byteLength: (shape, tokens) => 4 * tokens * groupsOf(shape) * groupWords,
    create({ slots, width }) {
      const groups = Array.from({ length: Math.ceil(width / BLOCK) }, (_, group) => group * BLOCK);
      return {
        encode(rows, tokens) {
          const words = new Uint32Array(tokens * slots * groups.length * groupWords);
          let at = 0;
          for (let slot = 0; slot < tokens * slots; slot++) {
            for (const group of groups) {
              const part = rows.subarray(slot * width + group, slot * width + Math.min(width, group + BLOCK));
              const { scale, offset, word } = affineScale(Math.min(...part), Math.max(...part), most);
              words[at] = word;
              const inverse = scale > 0 ? 1 / scale : 0;
              const codes = Uint8Array.from(part, (x) =>
                Math.max(0, Math.min(most, Math.round((x - offset) * inverse))),
              );
              packCodes(codes, bits, words, at + 1);
              at += groupWords;
            }
          }
          return bytesOf(words);
        },
        decode(bytes, tokens) {
          const words = wordsOf(bytes);
          const halves = halfTable();
          const rows = new Float32Array(tokens * slots * width);
          let at = 0;
          for (let slot = 0; slot < tokens * slots; slot++) {
            for (const group of groups) {
              const codes = new Uint8Array(Math.min(BLOCK, width - group));
              const scale = halves[words[at]! & 0xffff]!;
              const offset = halves[words[at]! >>> 16]!;
              unpackCodes(words, at + 1, bits, codes);
              codes.forEach((code, c) => {
                rows[slot * width + group + c] = offset + scale * code;
              });
              at += groupWords;
            }
          }
          return rows;
        },
      };
    },
  };
}

const channel = (bits: number): CacheCodec => ({
  title: `keys per channel before RoPE, values rotated, ${bits} bits`,
  source: 'arXiv 2402.02750, 2404.00456',
  keys: channelBlocks(bits, 'projected'),
  values: gaussianSlots(bits),
});

const kivi = (bits: number): CacheCodec => ({
  title: `keys per channel, values per token, ${bits} bits`,
  source: 'arXiv 2402.02750',
  keys: channelBlocks(bits, 'rotated'),
  values: tokenGroups(bits),
});

/** Keys by channel over blocks of tokens. */
export const channelCodecs = {
  'channel-4': channel(4),
  'channel-3': channel(3),
  'channel-2': channel(2),
  'kivi-4': kivi(4),
  'kivi-2': kivi(2),
};
