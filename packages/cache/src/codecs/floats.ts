import { type CacheCodec, halfTable, toFiniteHalf } from '@kvlr/core';
import { type SlotFormat, slotwise } from './token-format.ts';

const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

const float32: SlotFormat = {
  words: (width) => width,
  encode(rows, from, width, words, at) {
    for (let c = 0; c < width; c++) {
      floats[0] = rows[from + c]!;
      words[at + c] = bits[0]!;
    }
  },
  decode(words, at, width, rows, to) {
    for (let c = 0; c < width; c++) {
      bits[0] = words[at + c]!;
      rows[to + c] = floats[0]!;
    }
  },
};

const float16: SlotFormat = {
  words: (width) => Math.ceil(width / 2),
  encode(rows, from, width, words, at) {
    for (let c = 0; c < width; c++) words[at + (c >> 1)]! |= toFiniteHalf(rows[from + c]!) << (16 * (c & 1));
  },
  decode(words, at, width, rows, to) {
    const halves = halfTable();
    for (let c = 0; c < width; c++) rows[to + c] = halves[(words[at + (c >> 1)]! >>> (16 * (c & 1))) & 0xffff]!;
  },
};

/** The greatest number of E4M3 (Micikevicius et al. 2022, arXiv 2209.05433): its finite kind, without infinities. */
const GREATEST_FP8 = 448;
const table = Float32Array.from({ length: 256 }, (_, code) => {
  const exponent = (code >> 3) & 15;
  const fraction = code & 7;
  const magnitude = exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7);
  return code & 128 ? -magnitude : magnitude;
});

/** The E4M3 number nearest to x, ties to even, as 8 bits; beyond the range the greatest. */
export function toFloat8(x: number): number {
  const sign = x < 0 ? 128 : 0;
  const magnitude = Math.min(GREATEST_FP8, Math.abs(x));
  if (magnitude < 2 ** -6) {
    // Counts units of 2^-9: they are the lowest bits of a float32 between 2^14 and 2^15.
    floats[0] = magnitude + 2 ** 14;
    return sign | (bits[0]! - 0x46800000);
  }
  floats[0] = magnitude;
  return sign | ((bits[0]! - 0x3c000000 + 0x7ffff + ((bits[0]! >>> 20) & 1)) >>> 20);
}

/** The number that 8 bits of E4M3 stand for. */
export const decodeFloat8 = (code: number): number => table[code & 255]!;

const float8: SlotFormat = {
  words: (width) => Math.ceil(width / 4),
  encode(rows, from, width, words, at) {
    for (let c = 0; c < width; c++) words[at + (c >> 2)]! |= toFloat8(rows[from + c]!) << (8 * (c & 3));
  },
  decode(words, at, width, rows, to) {
    for (let c = 0; c < width; c++) rows[to + c] = table[(words[at + (c >> 2)]! >>> (8 * (c & 3))) & 255]!;
  },
};

const codec = (title: string, format: SlotFormat): CacheCodec => {
  const side = slotwise(format);
  return { title, keys: side, values: side };
};

/** Numbers as floating point of fewer bits, without scales. */
export const floatCodecs = {
  f32: codec('32-bit floats', float32),
  f16: codec('16-bit floats', float16),
  fp8: { ...codec('8-bit floats, E4M3, without scales', float8), source: 'arXiv 2209.05433' },
};
