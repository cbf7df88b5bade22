import { createNormalRandom } from '@kvlr/core';
import { SecondMoment } from '@kvlr/linalg';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectKvlrError } from '../test-support/expect-kvlr-error.ts';
import { complexKeyMoments } from './complex-key-moments.ts';
import { rotate } from './rotate.ts';

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
