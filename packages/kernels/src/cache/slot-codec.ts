import { type CacheDtype, halfTable, toFiniteHalf } from '@kvlr/core';

/** The words of a cache on the host, seen as numbers and as words. */
export interface HostCache {
  words: Int32Array;
  floats: Float32Array;
}

/** Both views of the same memory. */
export function viewCache(words: Int32Array): HostCache {
  return { words, floats: new Float32Array(words.buffer, words.byteOffset, words.length) };
}

/** Writes `width` numbers of `values` from `from` on as one slot of the cache that begins at word `at`. */
export function encodeSlot(
  cache: HostCache,
  at: number,
  dtype: CacheDtype,
  values: Float32Array,
  from: number,
  width: number,
): void {
  const { words, floats } = cache;
  switch (dtype) {
    case 'f32':
      for (let c = 0; c < width; c++) floats[at + c] = values[from + c]!;
      return;
    case 'f16':
      for (let c = 0; c < width; c += 2) {
        const second = c + 1 < width ? toFiniteHalf(values[from + c + 1]!) : 0;
        words[at + c / 2] = toFiniteHalf(values[from + c]!) | (second << 16);
      }
      return;
    case 'int8':
      encodeCodes(words, at, values, from, width, 8);
      return;
    case 'int4':
      encodeCodes(words, at, values, from, width, 4);
  }
}

function encodeCodes(
  words: Int32Array,
  at: number,
  values: Float32Array,
  from: number,
  width: number,
  bitsPerCode: number,
): void {
  let lowest = values[from]!;
  let highest = lowest;
  for (let c = 1; c < width; c++) {
    const value = values[from + c]!;
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  const most = 2 ** bitsPerCode - 1;
  const scaleBits = toFiniteHalf((highest - lowest) / most);
  const offsetBits = toFiniteHalf(lowest);
  words[at] = scaleBits | (offsetBits << 16);
  // Codes belong to the rounded scale and offset, the ones that decoding sees.
  const halves = halfTable();
  const scale = halves[scaleBits]!;
  const offset = halves[offsetBits]!;
  const inverse = scale > 0 ? 1 / scale : 0;
  const codesPerWord = 32 / bitsPerCode;
  for (let c = 0, word = at + 1; c < width; c += codesPerWord, word++) {
    let packed = 0;
    const end = Math.min(codesPerWord, width - c);
    for (let k = 0; k < end; k++) {
      const code = Math.round((values[from + c + k]! - offset) * inverse);
      packed |= Math.max(0, Math.min(most, code)) << (k * bitsPerCode);
    }
    words[word] = packed;
  }
}

/** Reads the slot that begins at word `at` into `width` numbers of `values` from `to` on. */
export function decodeSlot(
  cache: HostCache,
  at: number,
  dtype: CacheDtype,
  values: Float32Array,
  to: number,
  width: number,
): void {
  const { words, floats } = cache;
  const halves = halfTable();
  switch (dtype) {
    case 'f32':
      for (let c = 0; c < width; c++) values[to + c] = floats[at + c]!;
      return;
    case 'f16': {
      const even = width - (width & 1);
      for (let c = 0, word = at; c < even; c += 2, word++) {
        const pair = words[word]!;
        values[to + c] = halves[pair & 0xffff]!;
        values[to + c + 1] = halves[pair >>> 16]!;
      }
      if (even < width) values[to + even] = halves[words[at + even / 2]! & 0xffff]!;
      return;
    }
    case 'int8':
      decodeBytes(words, at, halves, values, to, width);
      return;
    case 'int4':
      decodeNibbles(words, at, halves, values, to, width);
  }
}

// Whole words are written out, code by code: a loop over the codes of a word costs several times as much.

function decodeBytes(
  words: Int32Array,
  at: number,
  halves: Float32Array,
  values: Float32Array,
  to: number,
  width: number,
): void {
  const scale = halves[words[at]! & 0xffff]!;
  const offset = halves[words[at]! >>> 16]!;
  const whole = width & ~3;
  let word = at + 1;
  for (let c = to; c < to + whole; c += 4, word++) {
    const codes = words[word]!;
    values[c] = offset + scale * (codes & 255);
    values[c + 1] = offset + scale * ((codes >> 8) & 255);
    values[c + 2] = offset + scale * ((codes >> 16) & 255);
    values[c + 3] = offset + scale * ((codes >> 24) & 255);
  }
  for (let c = whole; c < width; c++) values[to + c] = offset + scale * ((words[word]! >> (8 * (c & 3))) & 255);
}

function decodeNibbles(
  words: Int32Array,
  at: number,
  halves: Float32Array,
  values: Float32Array,
  to: number,
  width: number,
): void {
  const scale = halves[words[at]! & 0xffff]!;
  const offset = halves[words[at]! >>> 16]!;
  const whole = width & ~7;
  let word = at + 1;
  for (let c = to; c < to + whole; c += 8, word++) {
    const codes = words[word]!;
    values[c] = offset + scale * (codes & 15);
    values[c + 1] = offset + scale * ((codes >> 4) & 15);
    values[c + 2] = offset + scale * ((codes >> 8) & 15);
    values[c + 3] = offset + scale * ((codes >> 12) & 15);
    values[c + 4] = offset + scale * ((codes >> 16) & 15);
    values[c + 5] = offset + scale * ((codes >> 20) & 15);
    values[c + 6] = offset + scale * ((codes >> 24) & 15);
    values[c + 7] = offset + scale * ((codes >> 28) & 15);
  }
  for (let c = whole; c < width; c++) values[to + c] = offset + scale * ((words[word]! >> (4 * (c & 7))) & 15);
}
