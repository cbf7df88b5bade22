import { createNormalRandom } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectKvlrError } from '../test-support/expect-kvlr-error.ts';
import { fromComplexHeads, toComplexHeads } from './complex-heads.ts';
import { rotate } from './rotate.ts';

describe('toComplexHeads and fromComplexHeads', () => {
  it('pair coordinate j with j + headDim / 2, heads side by side', () => {
    const rows = Float64Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const complex = toComplexHeads(rows, { tokens: 1, heads: 2, headDim: 4 });
    expect([complex.rows, complex.cols]).toEqual([1, 4]);
    expect([...complex.real]).toEqual([1, 2, 5, 6]);
    expect([...complex.imag]).toEqual([3, 4, 7, 8]);
  });

  it('are inverses of each other', () => {
    const size = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(size, size, size, fc.nat(1e6), (tokens, heads, pairs, seed) => {
        const shape = { tokens, heads, headDim: 2 * pairs };
        const rows = Float64Array.from({ length: tokens * heads * 2 * pairs }, createNormalRandom(seed));
        expect(fromComplexHeads(toComplexHeads(rows, shape), 2 * pairs)).toEqual(rows);
      }),
    );
  });

  it('turn RoPE into a multiplication by exp(i n theta_j)', () => {
    const frequencies = Float64Array.of(0.7, 0.05);
    const shape = { tokens: 3, heads: 2, headDim: 4 };
    const rows = Float64Array.from({ length: 24 }, createNormalRandom(1));
    const before = toComplexHeads(rows, shape);
    const after = toComplexHeads(rotate(rows, { ...shape, frequencies, firstPosition: 9 }), shape);
    for (let token = 0; token < 3; token += 1) {
      for (let col = 0; col < 4; col += 1) {
        const index = token * 4 + col;
        const angle = (9 + token) * frequencies[col % 2]!;
        const modulus = Math.hypot(before.real[index]!, before.imag[index]!);
        const phase = Math.atan2(before.imag[index]!, before.real[index]!) + angle;
        expect(after.real[index]).toBeCloseTo(modulus * Math.cos(phase), 12);
        expect(after.imag[index]).toBeCloseTo(modulus * Math.sin(phase), 12);
      }
    }
  });

  it('refuse sizes that do not fit', () => {
    const shape = { tokens: 1, heads: 1, headDim: 4 };
    expectKvlrError(() => toComplexHeads(new Float64Array(3), shape), 'invalid-argument', /= 4 numbers, got 3/);
    const complex = toComplexHeads(new Float64Array(4), shape);
    expectKvlrError(() => fromComplexHeads(complex, 6), 'invalid-argument', /divides 2 columns, got 6/);
    expectKvlrError(() => fromComplexHeads(complex, 3), 'invalid-argument', /got 3/);
  });
});
