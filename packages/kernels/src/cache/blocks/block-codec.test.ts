import { builtInCodecs } from '@kvlr/cache';
import { cacheBlockWords, codedCacheBytes, createNormalRandom, stockLayout } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBlockKeys, decodeBlockValues, encodeBlockSlot, readCodes, writeCodes } from './block-codec.ts';
import { createBlockFormat } from './block-format.ts';

describe.each([4, 3, 2] as const)('blocks of %i bits', (bits) => {
  it('keep their codes, and touch no other word', () => {
    const code = fc.integer({ min: 0, max: 2 ** bits - 1 });
    fc.assert(
      fc.property(fc.array(code, { minLength: 32, maxLength: 32 }), (given) => {
        const words = new Int32Array(bits + 2).fill(-7);
        writeCodes(words, 1, bits, Uint8Array.from(given));
        const codes = new Uint8Array(32);
        readCodes(words, 1, bits, codes);
        expect(Array.from(codes)).toEqual(given);
        expect([words[0], words[bits + 1]]).toEqual([-7, -7]);
      }),
    );
  });

  it.each([8, 24, 64])('give the numbers of the codec that is a function of numbers, heads of %i', (width) => {
    const format = createBlockFormat(stockLayout(1, width), bits);
    const normal = createNormalRandom(width);
    const rows = () =>
      Float32Array.from({ length: 32 * width }, (_, place) => normal() * (1 + (place % width === 3 ? 9 : 0)));
    const [keys, values] = [rows(), rows()];
    const words = new Int32Array(format.blockWords + 2).fill(5);
    encodeBlockSlot(words, 1, format, keys, values);
    expect([words[0], words[format.blockWords + 1]]).toEqual([5, 5]);
    const reference = builtInCodecs[`channel-${bits}`];
    const expected = (side: 'keys' | 'values', given: Float32Array) => {
      const codec = reference[side].create({ slots: 1, width, layer: 0, side });
      return codec.decode(codec.encode(given, 32), 32);
    };
    const received = new Float32Array(32 * width);
    decodeBlockKeys(words, 1, format, received);
    expect(received).toEqual(expected('keys', keys));
    decodeBlockValues(words, 1, format, received);
    // Levels are rounded to 14 bits here.
    const largest = Math.max(...values.map(Math.abs));
    expected('values', values).forEach((value, place) => {
      expect(Math.abs(received[place]! - value)).toBeLessThan(1e-3 * largest);
    });
  });

  it('take the bytes that the codec promises', () => {
    const layout = stockLayout(2, 64);
    const codec = builtInCodecs[`channel-${bits}`];
    const promised = codedCacheBytes({ layers: [{ cache: layout }] }, { codec, window: 0, first: 0 }, 96);
    expect(3 * 4 * cacheBlockWords(layout, `channel-${bits}`)).toBe(promised);
  });
});
