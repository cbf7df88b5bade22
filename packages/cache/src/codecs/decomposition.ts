import { type CacheCodec, halfTable, type SideFormat, type SlotShape, toFiniteHalf } from '@kvlr/core';
import { createMatrix, eigSymmetric } from '@kvlr/linalg';
import { bytesOf, codeWords, packCodes, unpackCodes, wordsOf } from '../numbers/bit-codes.ts';
import { affineScale } from './affine.ts';

const BLOCK = 32;
/** Rows of the small factor at most. */
const mostParts = 8;
/** Numbers of the large factor that share a scale. */
const group = 64;

/**
 * DecoQuant (arXiv 2405.12591): a block of 32 tokens of all slots is reshaped to a matrix of few rows, one for each part of a token's
 * numbers, and decomposed by its singular values into a small and a large factor. The small one, U S, holds the outliers and stays in halves;
 * the large one, V^T, has numbers of one size and is stored in few bits, affine in groups of 64. What the paper calls a matrix product
 * operator of two local tensors.
 */
function decomposed(bits: number): SideFormat {
  const most = 2 ** bits - 1;
  const parts = ({ slots, width }: SlotShape) => {
    let count = mostParts;
    while ((slots * width) % count !== 0) count /= 2;
    return count;
  };
  const sizes = (shape: SlotShape) => {
    const count = parts(shape);
    const columns = (BLOCK * shape.slots * shape.width) / count;
    const groups = Math.ceil(columns / group);
    const smallWords = Math.ceil((count * count) / 2);
    return { count, columns, groups, smallWords, words: smallWords + count * groups * (1 + codeWords(group, bits)) };
  };
  return {
    blockTokens: BLOCK,
    keys: 'rotated',
    needsStatistics: false,
    byteLength: (shape, tokens) => 4 * (tokens / BLOCK) * sizes(shape).words,
    create(shape) {
      const { count, columns, groups, smallWords, words: blockWords } = sizes(shape);
      const blockNumbers = count * columns;
      const partWidth = (shape.slots * shape.width) / count;
      /** Where number (part, column) of a block lies among its rows of tokens. */
      const placeOf = (part: number, column: number) =>
        (Math.floor(column / partWidth) * count + part) * partWidth + (column % partWidth);
      return {
        encode(rows, tokens) {
          const words = new Uint32Array((tokens / BLOCK) * blockWords);
          for (let block = 0; block < tokens / BLOCK; block++) {
            const numbers = rows.subarray(block * blockNumbers, (block + 1) * blockNumbers);
            const { small, large } = factorise(numbers, count, columns, placeOf);
            const at = block * blockWords;
            small.forEach((x, i) => {
              words[at + (i >> 1)]! |= toFiniteHalf(x) << (16 * (i & 1));
            });
            const codes = new Uint8Array(group);
            for (let g = 0; g < count * groups; g++) {
              const row = Math.floor(g / groups) * columns;
              const from = row + (g % groups) * group;
              const part = large.subarray(from, Math.min(row + columns, from + group));
              const { scale, offset, word } = affineScale(Math.min(...part), Math.max(...part), most);
              const to = at + smallWords + g * (1 + codeWords(group, bits));
              words[to] = word;
              codes.fill(0);
              part.forEach((x, i) => {
                codes[i] = scale > 0 ? Math.max(0, Math.min(most, Math.round((x - offset) / scale))) : 0;
              });
              packCodes(codes, bits, words, to + 1);
            }
          }
          return bytesOf(words);
        },
        decode(bytes, tokens) {
          const words = wordsOf(bytes);
          const halves = halfTable();
          const rows = new Float32Array((tokens / BLOCK) * blockNumbers);
          const codes = new Uint8Array(group);
          for (let block = 0; block < tokens / BLOCK; block++) {
            const at = block * blockWords;
            const large = new Float64Array(blockNumbers);
            for (let g = 0; g < count * groups; g++) {
              const row = Math.floor(g / groups) * columns;
              const from = row + (g % groups) * group;
              const to = at + smallWords + g * (1 + codeWords(group, bits));
              const scale = halves[words[to]! & 0xffff]!;
              const offset = halves[words[to]! >>> 16]!;
              unpackCodes(words, to + 1, bits, codes);
              for (let i = from; i < Math.min(row + columns, from + group); i++) {
                large[i] = offset + scale * codes[i - from]!;
              }
            }
            for (let part = 0; part < count; part++) {
              for (let row = 0; row < count; row++) {
                const i = part * count + row;
                const factor = halves[(words[at + (i >> 1)]! >>> (16 * (i & 1))) & 0xffff]!;
                for (let column = 0; column < columns; column++) {
                  rows[block * blockNumbers + placeOf(part, column)]! += factor * large[row * columns + column]!;
                }
              }
            }
          }
          return rows;
        },
      };
    },
  };
}

/** U S, [count, count], and V^T times the root of its length, [count, columns], of numbers of about 1. */
function factorise(
  numbers: Float32Array,
  count: number,
  columns: number,
  placeOf: (part: number, column: number) => number,
): { small: Float64Array; large: Float64Array } {
  const gram = createMatrix(count, count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let column = 0; column < columns; column++)
        sum += numbers[placeOf(i, column)]! * numbers[placeOf(j, column)]!;
      gram.data[i * count + j] = sum;
      gram.data[j * count + i] = sum;
    }
  }
  const { values, vectors } = eigSymmetric(gram);
  const small = new Float64Array(count * count);
  const large = new Float64Array(count * columns);
  for (let row = 0; row < count; row++) {
    const singular = Math.sqrt(Math.max(0, values[row]!) / columns);
    if (singular === 0) continue;
    for (let part = 0; part < count; part++) {
      const direction = vectors.data[part * count + row]!;
      small[part * count + row] = direction * singular;
      for (let column = 0; column < columns; column++) {
        large[row * columns + column]! += (direction / singular) * numbers[placeOf(part, column)]!;
      }
    }
  }
  return { small, large };
}

const decoquant = (bits: number): CacheCodec => {
  const side = decomposed(bits);
  return { title: `outliers in a small factor, ${bits} bits`, source: 'arXiv 2405.12591', keys: side, values: side };
};

/** A small factor of halves and a large one of few bits. */
export const decompositionCodecs = { 'decoquant-4': decoquant(4), 'decoquant-2': decoquant(2) };
