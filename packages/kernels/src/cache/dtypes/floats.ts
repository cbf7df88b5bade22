import { halfTable, toFiniteHalf } from '@kvlr/core';
import { f32x4, i32x4, local, v128 } from '@kvlr/core/wasm';
import { advance, bitsInLanes, halfToFloat } from '../../wasm-heap.ts';
import { storeNumbers } from './codes.ts';
import type { SlotDtype } from './slot-dtype.ts';

export const f32: SlotDtype = {
  encode({ floats }, at, values, from, width) {
    for (let c = 0; c < width; c++) floats[at + c] = values[from + c]!;
  },
  decode({ floats }, at, values, to, width) {
    for (let c = 0; c < width; c++) values[to + c] = floats[at + c]!;
  },
  wgsl: { read: 'bitcast<f32>(code)', four: () => 'bitcast<vec4<f32>>(words)', write: 'bitcast<u32>(value)' },
};

/** Halves, two in a word; beyond their range the greatest. */
export const f16: SlotDtype = {
  encode({ words }, at, values, from, width) {
    for (let c = 0; c < width; c += 2) {
      const second = c + 1 < width ? toFiniteHalf(values[from + c + 1]!) : 0;
      words[at + c / 2] = toFiniteHalf(values[from + c]!) | (second << 16);
    }
  },
  decode({ words }, at, values, to, width) {
    const halves = halfTable();
    const even = width - (width & 1);
    for (let c = 0, word = at; c < even; c += 2, word++) {
      const pair = words[word]!;
      values[to + c] = halves[pair & 0xffff]!;
      values[to + c + 1] = halves[pair >>> 16]!;
    }
    if (even < width) values[to + even] = halves[words[at + even / 2]! & 0xffff]!;
  },
  wgsl: {
    read: 'unpack2x16float(code).x',
    four: (k) =>
      `vec4<f32>(${['x', 'y', 'z', 'w'].map((entry) => `unpack2x16float(words.${entry})[${k}]`).join(', ')})`,
    write: 'pack2x16float(vec2<f32>(clamp(value, -65504.0, 65504.0), 0.0))',
  },
  wasm: {
    together: 4,
    begin: (word, rows) => ({
      header: [],
      step: [
        ...v128.store(local.get(rows), halfToFloat(i32x4.shl(v128.load16x4_s(local.get(word)), 13))),
        ...advance(word, 8),
      ],
    }),
  },
};

const greatestFloat8 = 448;
const [single, singleBits] = (() => {
  const floats = new Float32Array(1);
  return [floats, new Uint32Array(floats.buffer)];
})();

/** The E4M3 number nearest to x, ties to even, as 8 bits; beyond the range the greatest. */
function toFloat8(x: number): number {
  const sign = x < 0 ? 0x80 : 0;
  const magnitude = Math.min(greatestFloat8, Math.abs(x));
  if (magnitude < 2 ** -6) {
    // Units of 2^-9 are the lowest bits of a float32 between 2^14 and 2^15.
    single[0] = magnitude + 2 ** 14;
    return sign | (singleBits[0]! - 0x46800000);
  }
  single[0] = magnitude;
  // Exponent 127 becomes 7; what is cut off rounds up when it is above one half, or exactly that and the rest odd.
  return sign | ((singleBits[0]! - 0x3c000000 + 0x7ffff + ((singleBits[0]! >>> 20) & 1)) >>> 20);
}

/** The number of each of the 256 codes. */
const float8Table = Float32Array.from({ length: 256 }, (_, code) => {
  const [exponent, fraction] = [(code >> 3) & 15, code & 7];
  const magnitude = exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7);
  return code & 0x80 ? -magnitude : magnitude;
});

/** Bits of 2^120: what the bits of an E4M3 number, moved to a float32's place, lack in exponent. It makes subnormal ones right too. */
const float8Factor = 0x7b800000;

/** E4M3, four in a word, without scales (Micikevicius et al. 2022, arXiv 2209.05433); beyond 448 the greatest. */
export const fp8: SlotDtype = {
  encode({ words }, at, values, from, width) {
    for (let c = 0; c < width; c += 4) {
      let packed = 0;
      for (let k = 0; k < Math.min(4, width - c); k++) packed |= toFloat8(values[from + c + k]!) << (8 * k);
      words[at + c / 4] = packed;
    }
  },
  decode({ words }, at, values, to, width) {
    for (let c = 0; c < width; c++) values[to + c] = float8Table[(words[at + (c >> 2)]! >>> (8 * (c & 3))) & 255]!;
  },
  wgsl: {
    read: `select(1.0, -1.0, (code & 128u) != 0u) * select(
      bitcast<f32>(((code & 127u) << 20u) + 0x3c000000u), f32(code & 7u) / 512.0, (code & 120u) == 0u)`,
    four(k) {
      const all = (value: string) => `vec4<u32>(${value})`;
      const codes = `(words >> ${all(`${8 * k}`)})`;
      const masked = (mask: string) => `(${codes} & ${all(mask)})`;
      const normal = `bitcast<vec4<f32>>((${masked('127')} << ${all('20')}) + ${all('0x3c000000')})`;
      const size = `select(${normal}, vec4<f32>${masked('7')} / 512.0, ${masked('120')} == ${all('0')})`;
      return `select(vec4<f32>(1.0), vec4<f32>(-1.0), ${masked('128')} != ${all('0')}) * ${size}`;
    },
    write: `select(0u, 128u, value < 0.0) | select(
      (bitcast<u32>(min(abs(value), ${greatestFloat8}.0)) - 0x3c000000u + 0x7ffffu
        + ((bitcast<u32>(min(abs(value), ${greatestFloat8}.0)) >> 20u) & 1u)) >> 20u,
      u32(round(512.0 * abs(value))), abs(value) < ${2 ** -6})`,
  },
  wasm: {
    together: 8,
    begin(word, rows, declare) {
      const bytes = declare(v128);
      const number = (integers: readonly number[]) =>
        f32x4.mul(v128.and(i32x4.shl(integers, 20), bitsInLanes(0x87f00000)), bitsInLanes(float8Factor));
      return {
        header: [],
        step: [
          ...local.set(bytes, v128.load8x8_s(local.get(word))),
          ...storeNumbers(rows, bytes, number),
          ...advance(word, 8),
        ],
      };
    },
  },
};
