import { halfTable, toFiniteHalf } from '@kvlr/core';
import { type Code, f32x4, i16x8, i32x4, type Local, local, v128 } from '@kvlr/core/wasm';
import { advance, bitsInLanes, halfToFloat } from '../../wasm-heap.ts';
import { codesAsHalves } from '../../webgpu/shader-text.ts';
import type { HostCache, SlotDtype } from './slot-dtype.ts';

/** Codes of one token's slot: number = offset + scale * code. The first word holds scale and offset as halves. */
function codes(bits: 4 | 8, decode: SlotDtype['decode'], readCodes: (word: Local, into: Local) => Code): SlotDtype {
  const most = 2 ** bits - 1;
  return {
    encode: (cache, at, values, from, width) => encodeCodes(cache, at, values, from, width, bits),
    decode,
    wgsl: {
      read: 'header.y + header.x * f32(code)',
      four: (k) => {
        const firstBit = (bits * k) % 16;
        const half = bits * k < 16 ? 'x' : 'y';
        const ofEntry = (entry: string) => `${codesAsHalves(bits, `words.${entry}`, firstBit)}.${half}`;
        return `vec4<f32>(${['x', 'y', 'z', 'w'].map(ofEntry).join(', ')})`;
      },
      write: `u32(clamp(round((value - header.y) * header.x), 0.0, ${most}.0))`,
    },
    wasm: {
      together: 8,
      begin(word, rows, declare) {
        const [scale, offset, integers] = [declare(v128), declare(v128), declare(v128)];
        const pair = v128.load32_splat(local.get(word));
        return {
          header: [
            ...local.set(scale, halfToFloat(i32x4.shr_s(i32x4.shl(pair, 16), 3))),
            ...local.set(offset, halfToFloat(i32x4.shr_s(pair, 3))),
            ...advance(word, 4),
          ],
          step: [
            ...readCodes(word, integers),
            ...storeNumbers(rows, integers, (four) =>
              f32x4.add(local.get(offset), f32x4.mul(local.get(scale), f32x4.convert_i32x4_s(four))),
            ),
            ...advance(word, bits),
          ],
        };
      },
    },
  };
}

/** Stores the eight numbers that `number` makes of eight integers of 16 bits, four at a time. */
export function storeNumbers(rows: Local, integers: Local, number: (four: Code) => Code): Code {
  return [
    ...v128.store(local.get(rows), number(i32x4.extend_low_i16x8_s(local.get(integers)))),
    ...v128.store(local.get(rows), number(i32x4.extend_high_i16x8_s(local.get(integers))), 16),
  ];
}

/** The two nibbles of a byte become the two bytes of a 16-bit number, and these then numbers of their own. */
function readNibbles(word: Local, into: Local): Code {
  const low = v128.and(local.get(into), bitsInLanes(0x000f000f));
  const high = v128.and(i16x8.shl(local.get(into), 4), bitsInLanes(0x0f000f00));
  return [
    ...local.set(into, i16x8.extend_low_i8x16_u(v128.load32_zero(local.get(word)))),
    ...local.set(into, i16x8.extend_low_i8x16_u(v128.or(low, high))),
  ];
}

export const int8 = codes(8, decodeBytes, (word, into) => local.set(into, v128.load8x8_u(local.get(word))));
export const int4 = codes(4, decodeNibbles, readNibbles);

function encodeCodes(
  { words }: HostCache,
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

// Whole words are written out, code by code: a loop over the codes of a word costs several times as much.

function decodeBytes({ words }: HostCache, at: number, values: Float32Array, to: number, width: number): void {
  const halves = halfTable();
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

function decodeNibbles({ words }: HostCache, at: number, values: Float32Array, to: number, width: number): void {
  const halves = halfTable();
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
