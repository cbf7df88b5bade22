import { expectKvlrError } from '@kvlr/testkit';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBfloat16, decodeFloat16, decodeFloats, encodeBfloat16, encodeFloat16, encodeFloats } from './dtypes.ts';

const allPatterns = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

const formats = [
  { name: 'float16', decode: decodeFloat16, encode: encodeFloat16, limit: 65520 },
  { name: 'bfloat16', decode: decodeBfloat16, encode: encodeBfloat16, limit: (511 / 256) * 2 ** 127 },
];

describe.each(formats)('$name', ({ decode, encode, limit }) => {
  const values = decode(allPatterns);
  const finite = [...allPatterns].filter((bits) => Number.isFinite(values[bits]));
  const ascending = finite.filter((bits) => bits < 0x8000);

  it('gives back every finite pattern', () => {
    const patterns = Uint16Array.from(finite);
    expect(encode(decode(patterns))).toEqual(patterns);
  });

  it('orders its positive patterns by value', () => {
    for (let i = 1; i < ascending.length; i++) expect(values[ascending[i]!]! > values[ascending[i - 1]!]!).toBe(true);
  });

  it('rounds to the nearest neighbour, ties to the even pattern', () => {
    const check = (below: number, share: number, sign: number): void => {
      const low = values[below]!;
      const high = values[below + 1]!;
      const value = Math.fround(low + share * (high - low));
      const expected =
        value - low < high - value || (value - low === high - value && below % 2 === 0) ? below : below + 1;
      expect(encode(Float32Array.of(sign * value))[0]).toBe(sign < 0 ? expected + 0x8000 : expected);
    };
    const below = fc.integer({ min: 1, max: ascending.length - 2 });
    fc.assert(fc.property(below, fc.constantFrom(0, 0.25, 0.5, 0.75), fc.constantFrom(-1, 1), check), {
      numRuns: 2000,
    });
    fc.assert(fc.property(below, fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(-1, 1), check));
  });

  it('refuses what it cannot hold', async () => {
    for (const value of [limit, -limit, Number.POSITIVE_INFINITY, Number.NaN]) {
      expectKvlrError(() => encode(Float32Array.of(0, value)), 'numerical', 'element 1');
    }
    expect(encode(Float32Array.of(limit * (1 - 2 ** -20))).length).toBe(1);
  });
});

describe('decodeFloats', () => {
  it('gives back what encodeFloats wrote, from any byte offset', () => {
    const values = Float32Array.of(0, -0, 1.5, -2.25, 2 ** -14, 96);
    for (const dtype of ['F32', 'F16', 'BF16'] as const) {
      const bytes = encodeFloats(dtype, values);
      const shifted = new Uint8Array(bytes.length + 1);
      shifted.set(bytes, 1);
      expect(decodeFloats(dtype, shifted.subarray(1))).toEqual(values);
    }
  });

  it('refuses quantised and integer weights', async () => {
    expectKvlrError(() => decodeFloats('F8_E4M3', new Uint8Array(4)), 'unsupported-feature', 'F8_E4M3');
  });
});
