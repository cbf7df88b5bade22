import { type CacheCodec, createRandom, halfTable, type SideFormat, type SlotShape, toFiniteHalf } from '@kvlr/core';
import { bytesOf, codeWords, packCodes, unpackCodes, wordsOf } from '../numbers/bit-codes.ts';
import { gaussianLevels, nearestLevel } from '../numbers/gaussian-levels.ts';
import { hadamard } from '../numbers/hadamard.ts';

/**
 * Slots rotated until their numbers look Gaussian, each number the nearest of the 2^b best levels of a Gaussian (QuaRot, arXiv
 * 2404.00456; TurboQuant, arXiv 2504.19874). A token is the gains of its slots, two halves in a word, then the codes of one slot behind
 * another, each from a word of its own on. A gain is that of least squares, g = <y, q> / <q, q> of the levels q nearest to the rotated slot
 * y: where few channels stand out, as in keys, it costs half of what the slot's norm costs.
 *
 * @param signs Whether the numbers of a slot get random signs before the Hadamard matrix, the same for all slots.
 */
export function gaussianSlots(bits: number, signs = false): SideFormat {
  const table = () => gaussianLevels(bits);
  const wordsOfToken = ({ slots, width }: SlotShape) => Math.ceil(slots / 2) + slots * codeWords(width, bits);
  return {
    blockTokens: 1,
    keys: 'rotated',
    needsStatistics: false,
    byteLength: (shape, tokens) => 4 * tokens * wordsOfToken(shape),
    create(shape) {
      const { slots, width } = shape;
      const quantiser = table();
      const { levels } = quantiser;
      const step = wordsOfToken(shape);
      const gainWords = Math.ceil(slots / 2);
      const slotWords = codeWords(width, bits);
      const sign = signs ? randomSigns(width) : new Float64Array(width).fill(1);
      const codes = new Uint8Array(width);
      const y = new Float64Array(width);
      return {
        encode(rows, tokens) {
          const words = new Uint32Array(tokens * step);
          for (let token = 0; token < tokens; token++) {
            for (let slot = 0; slot < slots; slot++) {
              const from = (token * slots + slot) * width;
              for (let c = 0; c < width; c++) y[c] = sign[c]! * rows[from + c]!;
              hadamard(y, 0, width);
              const norm = Math.sqrt(y.reduce((sum, value) => sum + value * value, 0) / width);
              const inverse = norm > 0 ? 1 / norm : 0;
              let along = 0;
              let square = 0;
              for (let c = 0; c < width; c++) {
                codes[c] = nearestLevel(quantiser, y[c]! * inverse);
                const level = levels[codes[c]!]!;
                along += level * y[c]!;
                square += level * level;
              }
              const value = toFiniteHalf(along / square);
              words[token * step + (slot >> 1)]! |= value << (16 * (slot & 1));
              packCodes(codes, bits, words, token * step + gainWords + slot * slotWords);
            }
          }
          return bytesOf(words);
        },
        decode(bytes, tokens) {
          const words = wordsOf(bytes);
          const halves = halfTable();
          const rows = new Float32Array(tokens * slots * width);
          for (let token = 0; token < tokens; token++) {
            for (let slot = 0; slot < slots; slot++) {
              const value = halves[(words[token * step + (slot >> 1)]! >>> (16 * (slot & 1))) & 0xffff]!;
              unpackCodes(words, token * step + gainWords + slot * slotWords, bits, codes);
              for (let c = 0; c < width; c++) y[c] = value * levels[codes[c]!]!;
              hadamard(y, 0, width);
              const to = (token * slots + slot) * width;
              for (let c = 0; c < width; c++) rows[to + c] = sign[c]! * y[c]!;
            }
          }
          return rows;
        },
      };
    },
  };
}

function randomSigns(width: number): Float64Array {
  const random = createRandom(width);
  return Float64Array.from({ length: width }, () => (random() < 0.5 ? -1 : 1));
}

const turboquant = (bits: number): CacheCodec => {
  const side = gaussianSlots(bits, true);
  return {
    title: `slots rotated at random, ${bits} bits and a gain`,
    source: 'arXiv 2504.19874',
    keys: side,
    values: side,
  };
};

/** Rotated slots on the levels of a Gaussian. */
export const gaussianCodecs = {
  'turboquant-4': turboquant(4),
  'turboquant-3': turboquant(3),
  'turboquant-2': turboquant(2),
};
