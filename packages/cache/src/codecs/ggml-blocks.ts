import { type CacheCodec, type CacheSide, halfTable, type SideFormat, type SlotShape, toHalf } from '@kvlr/core';
import { hadamard, hadamardSize } from '../numbers/hadamard.ts';

const BLOCK = 32;

/** One block of 32 numbers as ggml lays it out: scales as halves, then codes. */
interface GgmlBlock {
  bytes: number;
  encode(x: Float32Array, from: number, view: DataView, at: number): void;
  decode(view: DataView, at: number, y: Float32Array, to: number): void;
}

const { fround } = Math;

/** The number of the greatest magnitude, with its sign; the first of equals. */
function extreme(x: Float32Array, from: number): number {
  let found = 0;
  for (let i = from; i < from + BLOCK; i++) if (Math.abs(x[i]!) > Math.abs(found)) found = x[i]!;
  return found;
}

function range(x: Float32Array, from: number): [least: number, greatest: number] {
  let least = x[from]!;
  let greatest = least;
  for (let i = from + 1; i < from + BLOCK; i++) {
    if (x[i]! < least) least = x[i]!;
    if (x[i]! > greatest) greatest = x[i]!;
  }
  return [least, greatest];
}

const inverse = (scale: number): number => (scale === 0 ? 0 : fround(1 / scale));
const half = (view: DataView, at: number): number => halfTable()[view.getUint16(at, true)]!;

/** Codes i and i + 16 in the two halves of byte i. */
function packNibbles(view: DataView, at: number, code: (i: number) => number): void {
  for (let i = 0; i < 16; i++) view.setUint8(at + i, code(i) | (code(i + 16) << 4));
}

function unpackNibbles(view: DataView, at: number, take: (i: number, code: number) => void): void {
  for (let i = 0; i < 16; i++) {
    const byte = view.getUint8(at + i);
    take(i, byte & 15);
    take(i + 16, byte >> 4);
  }
}

/** Symmetric codes of 4 or 5 bits: the number of the greatest magnitude is -8 or -16 times the scale. */
function symmetric(bits: 4 | 5): GgmlBlock {
  const zero = 2 ** (bits - 1);
  const codesAt = bits === 4 ? 2 : 6;
  return {
    bytes: codesAt + 16,
    encode(x, from, view, at) {
      const scale = fround(extreme(x, from) / -zero);
      const factor = inverse(scale);
      view.setUint16(at, toHalf(scale), true);
      const codes = Array.from({ length: BLOCK }, (_, i) =>
        Math.min(2 * zero - 1, Math.trunc(fround(fround(x[from + i]! * factor) + (zero + 0.5)))),
      );
      packNibbles(view, at + codesAt, (i) => codes[i]! & 15);
      if (bits === 5) view.setUint32(at + 2, fifthBits(codes), true);
    },
    decode(view, at, y, to) {
      const scale = half(view, at);
      const fifth = bits === 5 ? view.getUint32(at + 2, true) : 0;
      unpackNibbles(view, at + codesAt, (i, code) => {
        y[to + i] = scale * ((code | (((fifth >>> i) & 1) << 4)) - zero);
      });
    },
  };
}

/** Codes of 4 or 5 bits between the least number of the block and its greatest. */
function affine(bits: 4 | 5): GgmlBlock {
  const most = 2 ** bits - 1;
  const codesAt = bits === 4 ? 4 : 8;
  return {
    bytes: codesAt + 16,
    encode(x, from, view, at) {
      const [least, greatest] = range(x, from);
      const scale = fround(fround(greatest - least) / most);
      const factor = inverse(scale);
      view.setUint16(at, toHalf(scale), true);
      view.setUint16(at + 2, toHalf(least), true);
      const codes = Array.from({ length: BLOCK }, (_, i) =>
        Math.min(most, Math.trunc(fround(fround(fround(x[from + i]! - least) * factor) + 0.5))),
      );
      packNibbles(view, at + codesAt, (i) => codes[i]! & 15);
      if (bits === 5) view.setUint32(at + 4, fifthBits(codes), true);
    },
    decode(view, at, y, to) {
      const scale = half(view, at);
      const least = half(view, at + 2);
      const fifth = bits === 5 ? view.getUint32(at + 4, true) : 0;
      unpackNibbles(view, at + codesAt, (i, code) => {
        y[to + i] = scale * (code | (((fifth >>> i) & 1) << 4)) + least;
      });
    },
  };
}

function fifthBits(codes: readonly number[]): number {
  return codes.reduce((bits, code, i) => bits | ((code >> 4) << i), 0) >>> 0;
}

const q8: GgmlBlock = {
  bytes: 2 + BLOCK,
  encode(x, from, view, at) {
    const scale = fround(Math.abs(extreme(x, from)) / 127);
    const factor = inverse(scale);
    view.setUint16(at, toHalf(scale), true);
    for (let i = 0; i < BLOCK; i++) {
      const value = fround(x[from + i]! * factor);
      // C's roundf: halves go away from zero.
      view.setInt8(at + 2 + i, Math.sign(value) * Math.floor(Math.abs(value) + 0.5));
    }
  },
  decode(view, at, y, to) {
    const scale = half(view, at);
    for (let i = 0; i < BLOCK; i++) y[to + i] = scale * view.getInt8(at + 2 + i);
  },
};

/** What the sixteen codes of iq4_nl stand for, times the scale (`kvalues_iq4nl` of ggml). */
const unevenLevels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

function nearestUnevenLevel(x: number): number {
  const above = unevenLevels.findIndex((level) => x < level);
  if (above === 0) return 0;
  if (above === -1) return 15;
  return fround(x - unevenLevels[above - 1]!) < fround(unevenLevels[above]! - x) ? above - 1 : above;
}

/** Codes of 4 bits on uneven levels, the scale by least squares weighted by the squares of the numbers. */
const iq4: GgmlBlock = {
  bytes: 18,
  encode(x, from, view, at) {
    const largest = extreme(x, from);
    if (Math.abs(largest) < 1e-15) {
      // ggml leaves the codes of the level nearest to zero times infinity: all zeros.
      view.setUint16(at, 0, true);
      return;
    }
    const factor = fround(1 / fround(largest / unevenLevels[0]!));
    let product = 0;
    let square = 0;
    const codes = Array.from({ length: BLOCK }, (_, i) => {
      const value = x[from + i]!;
      const code = nearestUnevenLevel(fround(factor * value));
      const level = unevenLevels[code]!;
      const weighted = fround(fround(value * value) * level);
      product = fround(product + fround(weighted * value));
      square = fround(square + fround(weighted * level));
      return code;
    });
    view.setUint16(at, toHalf(fround(product / square)), true);
    packNibbles(view, at + 2, (i) => codes[i]!);
  },
  decode(view, at, y, to) {
    const scale = half(view, at);
    unpackNibbles(view, at + 2, (i, code) => {
      y[to + i] = scale * unevenLevels[code]!;
    });
  },
};

/** Widths of heads that llama.cpp rotates are multiples of this. */
const ROTATED = 64;

/**
 * Numbers that llama.cpp turns together by a Hadamard matrix before it quantises them, since its pull request 21038: keys in the greatest
 * power of two that divides the head's width, values in 64s. Heads of other widths are stored as they are: 1.
 */
export function rotationSize(side: CacheSide, width: number): number {
  if (width % ROTATED !== 0) return 1;
  return side === 'keys' ? hadamardSize(width) : ROTATED;
}

/** Rows with every `size` numbers turned, which turns them back too. */
function turned(rows: Float32Array, size: number): Float32Array {
  if (size === 1) return rows;
  const values = Float64Array.from(rows);
  for (let at = 0; at < values.length; at += size) hadamard(values, at, size);
  return Float32Array.from(values);
}

/** A side whose tokens are rows of blocks, through all slots, as in the caches of llama.cpp. */
function blocks(block: GgmlBlock): SideFormat {
  const blocksOfToken = ({ slots, width }: SlotShape) => (slots * width) / BLOCK;
  return {
    blockTokens: 1,
    keys: 'rotated',
    needsStatistics: false,
    byteLength: (shape, tokens) => tokens * blocksOfToken(shape) * block.bytes,
    refuse: ({ width }) => (width % BLOCK === 0 ? undefined : `heads whose width is a multiple of ${BLOCK}`),
    create(request) {
      const count = blocksOfToken(request);
      const size = rotationSize(request.side, request.width);
      return {
        encode(rows, tokens) {
          const numbers = turned(rows, size);
          const bytes = new Uint8Array(tokens * count * block.bytes);
          const view = new DataView(bytes.buffer);
          for (let i = 0; i < tokens * count; i++) block.encode(numbers, i * BLOCK, view, i * block.bytes);
          return bytes;
        },
        decode(bytes, tokens) {
          const rows = new Float32Array(tokens * count * BLOCK);
          const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
          for (let i = 0; i < tokens * count; i++) block.decode(view, i * block.bytes, rows, i * BLOCK);
          return turned(rows, size);
        },
      };
    },
  };
}

const codec = (title: string, block: GgmlBlock): CacheCodec => {
  const side = blocks(block);
  return { title, source: 'llama.cpp', keys: side, values: side };
};

/**
 * The quantised types of llama.cpp's caches, bit for bit as ggml's reference quantisers write them; heads whose width is a multiple of 64 are
 * rotated before, as llama.cpp does.
 */
export const ggmlCodecs = {
  q8_0: codec('blocks of 32, 8 bits and a scale', q8),
  q5_1: codec('blocks of 32, 5 bits, a scale and an offset', affine(5)),
  q5_0: codec('blocks of 32, 5 bits and a scale', symmetric(5)),
  q4_1: codec('blocks of 32, 4 bits, a scale and an offset', affine(4)),
  q4_0: codec('blocks of 32, 4 bits and a scale', symmetric(4)),
  iq4_nl: codec('blocks of 32, 4 bits on uneven levels and a scale', iq4),
};
