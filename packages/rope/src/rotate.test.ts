import { createNormalRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ropeFrequencies } from './rope-frequencies.ts';
import { ropeTables, rotate, unrotate } from './rotate.ts';
import { interleavedRowOrder, permuteRows } from './row-order.ts';

const shapes = fc.record({
  tokens: fc.integer({ min: 1, max: 5 }),
  heads: fc.integer({ min: 1, max: 4 }),
  pairs: fc.integer({ min: 1, max: 8 }),
  firstPosition: fc.nat(5000),
  seed: fc.nat(1e6),
});

function randomRows(length: number, seed: number): Float64Array {
  return Float64Array.from({ length }, createNormalRandom(seed));
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let k = 0; k < a.length; k += 1) largest = Math.max(largest, Math.abs(a[k]! - b[k]!));
  return largest;
}

describe('rotate', () => {
  it('multiplies each pair, as a complex number, by exp(i n theta^(-2j / D)) raised step by step', () => {
    fc.assert(
      fc.property(shapes, ({ tokens, heads, pairs, seed }) => {
        const headDim = 2 * pairs;
        const theta = 10000;
        const { frequencies } = ropeFrequencies({ type: 'default', theta }, headDim);
        const rows = randomRows(tokens * heads * headDim, seed);
        const rotated = rotate(rows, { tokens, heads, headDim, frequencies, firstPosition: 3 });
        for (let j = 0; j < pairs; j += 1) {
          // The n-th power of the unit phasor by repeated multiplication: no angle of a position is ever formed.
          const turn = theta ** (-j / pairs);
          let real = 1;
          let imag = 0;
          const advance = () => {
            [real, imag] = [
              real * Math.cos(turn) - imag * Math.sin(turn),
              real * Math.sin(turn) + imag * Math.cos(turn),
            ];
          };
          for (let step = 0; step < 3; step += 1) advance();
          for (let token = 0; token < tokens; token += 1) {
            for (let head = 0; head < heads; head += 1) {
              const offset = (token * heads + head) * headDim + j;
              const x = rows[offset]!;
              const y = rows[offset + pairs]!;
              expect(rotated[offset]).toBeCloseTo(x * real - y * imag, 12);
              expect(rotated[offset + pairs]).toBeCloseTo(x * imag + y * real, 12);
            }
            advance();
          }
        }
      }),
    );
  });

  it('agrees with x cos + rotate_half(x) sin over tables, the form of transformers', () => {
    fc.assert(
      fc.property(shapes, ({ tokens, heads, pairs, firstPosition, seed }) => {
        const headDim = 2 * pairs;
        const { frequencies } = ropeFrequencies({ type: 'default', theta: 10000 }, headDim);
        const rows = randomRows(tokens * heads * headDim, seed);
        const { cos, sin } = ropeTables({ frequencies, attentionFactor: 1 }, tokens, firstPosition);
        const expected = rows.map((value, index) => {
          const token = Math.floor(index / (heads * headDim));
          const within = index % headDim;
          const table = token * pairs + (within % pairs);
          const half = within < pairs ? -rows[index + pairs]! : rows[index - pairs]!;
          return value * cos[table]! + half * sin[table]!;
        });
        const rotated = rotate(rows, { tokens, heads, headDim, frequencies, firstPosition });
        expect(largestDifference(rotated, expected)).toBeLessThan(1e-6);
      }),
    );
  });

  it('makes scores depend on the distance of query and key alone', () => {
    fc.assert(
      fc.property(fc.nat(2000), fc.nat(2000), fc.nat(2000), fc.nat(1e6), (queryPosition, keyPosition, shift, seed) => {
        const headDim = 16;
        const { frequencies } = ropeFrequencies({ type: 'linear', theta: 500000, factor: 4 }, headDim);
        const query = randomRows(headDim, seed);
        const key = randomRows(headDim, seed + 1);
        const at = (rows: Float64Array, firstPosition: number) =>
          rotate(rows, { tokens: 1, heads: 1, headDim, frequencies, firstPosition });
        const score = (offset: number) => {
          const rotatedKey = at(key, keyPosition + offset);
          return at(query, queryPosition + offset).reduce((sum, value, k) => sum + value * rotatedKey[k]!, 0);
        };
        expect(score(shift)).toBeCloseTo(score(0), 9);
      }),
    );
  });

  it('keeps lengths, is undone by unrotate, and leaves position 0 and its input alone', () => {
    fc.assert(
      fc.property(shapes, ({ tokens, heads, pairs, firstPosition, seed }) => {
        const headDim = 2 * pairs;
        const { frequencies } = ropeFrequencies({ type: 'default', theta: 10000 }, headDim);
        const settings = { tokens, heads, headDim, frequencies, firstPosition };
        const rows = randomRows(tokens * heads * headDim, seed);
        const before = Float64Array.from(rows);
        const rotated = rotate(rows, settings);
        const energy = (values: Float64Array) => values.reduce((sum, value) => sum + value * value, 0);
        expect(rows).toEqual(before);
        expect(energy(rotated)).toBeCloseTo(energy(rows), 10);
        expect(largestDifference(unrotate(rotated, settings), rows)).toBeLessThan(1e-13);
        const firstToken = rows.subarray(0, heads * headDim);
        expect(rotate(firstToken, { tokens: 1, heads, headDim, frequencies })).toEqual(firstToken.slice());
      }),
    );
  });

  it('keeps the type of its rows', () => {
    const frequencies = Float64Array.of(Math.PI / 2);
    const rotated = rotate(Float32Array.of(1, 0), { tokens: 1, heads: 1, headDim: 2, frequencies, firstPosition: 1 });
    expect(rotated).toBeInstanceOf(Float32Array);
    expect(largestDifference(rotated, [0, 1])).toBeLessThan(1e-7);
  });

  it('rotates the leading part of a head alone, as if it were a head of its own', () => {
    fc.assert(
      fc.property(shapes, fc.integer({ min: 1, max: 6 }), ({ tokens, heads, pairs, firstPosition, seed }, rest) => {
        const { frequencies } = ropeFrequencies({ type: 'default', theta: 10000 }, 2 * pairs);
        const headDim = 2 * (pairs + rest);
        const rows = randomRows(tokens * heads * headDim, seed);
        const rotating = (_: number, index: number) => index % headDim < 2 * pairs;
        const resting = (_: number, index: number) => !rotating(_, index);
        const rotated = rotate(rows, { tokens, heads, headDim, frequencies, firstPosition });
        const alone = { tokens, heads, headDim: 2 * pairs, frequencies, firstPosition };
        expect(rotated.filter(rotating)).toEqual(rotate(rows.filter(rotating), alone));
        expect(rotated.filter(resting)).toEqual(rows.filter(resting));
      }),
    );
  });

  it('rotates neighbours where pairs are interleaved: the same in another order of coordinates', () => {
    fc.assert(
      fc.property(shapes, ({ tokens, heads, pairs, firstPosition, seed }) => {
        const headDim = 2 * pairs;
        const { frequencies } = ropeFrequencies({ type: 'default', theta: 10000 }, headDim);
        const settings = { tokens, heads, headDim, frequencies, firstPosition };
        const rows = randomRows(tokens * heads * headDim, seed);
        const order = interleavedRowOrder(tokens * heads, headDim);
        const interleaved = rotate(permuteRows(rows, order, 1), { ...settings, pairs: 'interleaved' });
        expect(interleaved).toEqual(permuteRows(rotate(rows, settings), order, 1));
      }),
    );
  });

  it('stretches by the attention factor, which unrotate takes back', () => {
    const settings = { tokens: 2, heads: 2, headDim: 4, frequencies: Float64Array.of(1, 0.1), firstPosition: 5 };
    const rows = randomRows(16, 1);
    const stretched = rotate(rows, { ...settings, attentionFactor: 1.25 });
    const expected = rotate(rows, settings).map((value) => 1.25 * value);
    expect(largestDifference(stretched, expected)).toBeLessThan(1e-14);
    expect(largestDifference(unrotate(stretched, { ...settings, attentionFactor: 1.25 }), rows)).toBeLessThan(1e-14);
  });

  it('refuses sizes that do not fit', () => {
    const frequencies = Float64Array.of(1, 0.1);
    const settings = { tokens: 2, heads: 1, headDim: 4, frequencies };
    expectKvlrError(() => rotate(new Float64Array(9), settings), 'invalid-argument', /= 8 numbers, got 9/);
    expectKvlrError(
      () => unrotate(new Float64Array(4), { ...settings, headDim: 2 }),
      'invalid-argument',
      /expected at most 1 frequencies .*got 2/,
    );
    expectKvlrError(
      () => rotate(new Float64Array(6), { ...settings, headDim: 3 }),
      'invalid-argument',
      /even width, got 1 heads of width 3/,
    );
  });
});

describe('ropeTables', () => {
  const plain = (frequencies: Float64Array) => ({ frequencies, attentionFactor: 1 });

  it('holds one row per position, from the first position on', () => {
    const quarterTurns = Float64Array.of(Math.PI / 2, Math.PI);
    const { cos, sin } = ropeTables(plain(quarterTurns), 3, 1);
    const rounded = (values: Float32Array) => Array.from(values, (value) => Math.round(value) + 0);
    expect(rounded(cos)).toEqual([0, -1, -1, 1, 0, -1]);
    expect(rounded(sin)).toEqual([1, 0, 0, 0, -1, 0]);
  });

  it('keeps the phase at long positions, where a float32 angle has lost it', () => {
    const frequency = 1 / 3;
    const position = 3_000_000;
    const { cos, sin } = ropeTables(plain(Float64Array.of(frequency)), 1, position);
    expect(cos[0]).toBeCloseTo(Math.cos(1_000_000), 6);
    expect(sin[0]).toBeCloseTo(Math.sin(1_000_000), 6);
  });

  it('continues where another table ends', () => {
    const frequencies = Float64Array.of(1, 0.25);
    const whole = ropeTables(plain(frequencies), 10);
    const tail = ropeTables(plain(frequencies), 4, 6);
    expect(tail.cos).toEqual(whole.cos.subarray(12));
    expect(tail.sin).toEqual(whole.sin.subarray(12));
  });

  it('holds the attention factor', () => {
    const rope = { frequencies: Float64Array.of(Math.PI / 2), attentionFactor: 1.5 };
    const { cos, sin } = ropeTables(rope, 2);
    expect([cos[0], sin[0], sin[1]]).toEqual([1.5, 0, 1.5]);
  });

  it('refuses positions that are not counts', () => {
    expectKvlrError(() => ropeTables(plain(Float64Array.of(1)), 1.5), 'invalid-argument', /1.5 and 0/);
    expectKvlrError(() => ropeTables(plain(Float64Array.of(1)), 1, -1), 'invalid-argument', /1 and -1/);
  });
});
