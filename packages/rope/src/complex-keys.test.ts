import { createNormalRandom } from '@kvlr/core';
import { SecondMoment } from '@kvlr/linalg';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { complexKeyMoments, fromComplexHeads, toComplexHeads } from './complex-keys.ts';
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

function secondMoment(rows: Float64Array, tokens: number): Float64Array {
  const moment = new SecondMoment(rows.length / tokens);
  moment.add(rows, tokens);
  return moment.secondMoment();
}

const shapes = fc.record({
  tokens: fc.integer({ min: 1, max: 6 }),
  heads: fc.integer({ min: 1, max: 4 }),
  pairs: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(1e6),
});

describe('complexKeyMoments', () => {
  it('averages kappa_a times the conjugate of kappa_b over the tokens', () => {
    fc.assert(
      fc.property(shapes, ({ tokens, heads, pairs, seed }) => {
        const headDim = 2 * pairs;
        const rows = Float64Array.from({ length: tokens * heads * headDim }, createNormalRandom(seed));
        const moments = complexKeyMoments(secondMoment(rows, tokens), heads, headDim);
        expect(moments.length).toBe(pairs);
        for (let j = 0; j < pairs; j += 1) {
          for (let a = 0; a < heads; a += 1) {
            for (let b = 0; b < heads; b += 1) {
              // In polar form, so that no product of parts is written down twice.
              let real = 0;
              let imag = 0;
              for (let token = 0; token < tokens; token += 1) {
                const at = (head: number, part: number) => rows[(token * heads + head) * headDim + j + part * pairs]!;
                const modulus = Math.hypot(at(a, 0), at(a, 1)) * Math.hypot(at(b, 0), at(b, 1));
                const phase = Math.atan2(at(a, 1), at(a, 0)) - Math.atan2(at(b, 1), at(b, 0));
                real += (modulus * Math.cos(phase)) / tokens;
                imag += (modulus * Math.sin(phase)) / tokens;
              }
              expect(moments[j]!.real[a * heads + b]).toBeCloseTo(real, 12);
              expect(moments[j]!.imag[a * heads + b]).toBeCloseTo(imag, 12);
            }
          }
        }
      }),
    );
  });

  it('is the same before and after RoPE', () => {
    fc.assert(
      fc.property(shapes, fc.nat(3000), ({ tokens, heads, pairs, seed }, firstPosition) => {
        const headDim = 2 * pairs;
        const frequencies = Float64Array.from({ length: pairs }, (_, j) => 0.9 / (j + 1));
        const rows = Float64Array.from({ length: tokens * heads * headDim }, createNormalRandom(seed));
        const rotated = rotate(rows, { tokens, heads, headDim, frequencies, firstPosition });
        const before = complexKeyMoments(secondMoment(rows, tokens), heads, headDim);
        const after = complexKeyMoments(secondMoment(rotated, tokens), heads, headDim);
        before.forEach((moment, j) => {
          moment.real.forEach((value, k) => {
            expect(after[j]!.real[k]).toBeCloseTo(value, 12);
            expect(after[j]!.imag[k]).toBeCloseTo(moment.imag[k]!, 12);
          });
        });
      }),
    );
  });

  it('finds the phase by which one head leads another', () => {
    // kappa_1 = i kappa_0 for every token, so Gamma[1, 0] = i E|kappa_0|^2.
    const rows = Float64Array.of(1, 2, -2, 1, 3, -1, 1, 3);
    const [moment] = complexKeyMoments(secondMoment(rows, 2), 2, 2);
    expect([...moment!.real]).toEqual([7.5, 0, 0, 7.5]);
    expect([...moment!.imag]).toEqual([0, -7.5, 7.5, 0]);
  });

  it('refuses sizes that do not fit', () => {
    expectKvlrError(() => complexKeyMoments(new Float64Array(15), 2, 2), 'invalid-argument', /4x4 numbers.*got 15/);
    expectKvlrError(() => complexKeyMoments(new Float64Array(9), 1, 3), 'invalid-argument', /even width/);
  });
});
