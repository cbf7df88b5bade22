import type { EntryDtype } from '@kvlr/core';
import { cacheSlotWords } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeSlot, encodeSlot, viewCache } from './slot-codec.ts';

/** Largest error of a slot as a share of its range: rounding to half, or half a step of a code and the rounded offset. */
const tolerances: Record<EntryDtype, number> = {
  f32: 0,
  f16: 2 ** -11,
  fp8: 2 ** -4,
  int8: 0.5 / 255 + 1e-3,
  int4: 0.5 / 15 + 1e-3,
};

/** What the least of all scales, 2^-24, cannot tell apart. */
const smallest: Record<EntryDtype, number> = {
  f32: 0,
  f16: 2 ** -25,
  fp8: 2 ** -10,
  int8: 256 * 2 ** -25,
  int4: 16 * 2 ** -25,
};

describe.each(Object.keys(tolerances) as EntryDtype[])('a slot in %s', (dtype) => {
  it('comes back within its precision, and touches no other word', () => {
    const number = fc.double({ min: -50, max: 50, noNaN: true });
    fc.assert(
      fc.property(fc.array(number, { minLength: 1, maxLength: 40 }), (numbers) => {
        const values = Float32Array.from([99, ...numbers]);
        const width = numbers.length;
        const slotWords = cacheSlotWords(width, dtype);
        const cache = viewCache(new Int32Array(slotWords + 2).fill(-7));
        encodeSlot(cache, 1, dtype, values, 1, width);
        expect([cache.words[0], cache.words[slotWords + 1]]).toEqual([-7, -7]);
        const decoded = new Float32Array(width + 2);
        decodeSlot(cache, 1, dtype, decoded, 1, width);
        expect([decoded[0], decoded[width + 1]]).toEqual([0, 0]);
        const span = Math.max(...numbers.map(Math.abs)) * 2;
        numbers.forEach((_, c) => {
          expect(Math.abs(decoded[c + 1]! - values[c + 1]!)).toBeLessThanOrEqual(
            tolerances[dtype] * span + smallest[dtype],
          );
        });
      }),
    );
  });

  it('comes back unchanged when it is encoded again', () => {
    const values = Float32Array.from({ length: 24 }, (_, c) => Math.sin(3 * c) * 2);
    const cache = viewCache(new Int32Array(24));
    const once = new Float32Array(24);
    const twice = new Float32Array(24);
    encodeSlot(cache, 0, dtype, values, 0, 24);
    decodeSlot(cache, 0, dtype, once, 0, 24);
    encodeSlot(cache, 0, dtype, once, 0, 24);
    decodeSlot(cache, 0, dtype, twice, 0, 24);
    once.forEach((value, c) => {
      expect(twice[c]).toBeCloseTo(value, 2);
    });
  });
});
