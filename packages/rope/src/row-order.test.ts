import { createNormalRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rotate } from './rotate.ts';
import { halfSplitRowOrder, interleavedRowOrder, permuteRows } from './row-order.ts';

const counts = { heads: fc.integer({ min: 1, max: 5 }), pairs: fc.integer({ min: 1, max: 6 }) };

describe('interleavedRowOrder and halfSplitRowOrder', () => {
  it('put the rows of a pair side by side, within each head', () => {
    expect([...interleavedRowOrder(2, 6)]).toEqual([0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
  });

  it('are what reshaping to [heads, 2, headDim / 2] and swapping the last two axes does', () => {
    fc.assert(
      fc.property(counts.heads, counts.pairs, (heads, pairs) => {
        const expected: number[] = [];
        for (let head = 0; head < heads; head += 1) {
          for (let j = 0; j < pairs; j += 1) {
            for (let part = 0; part < 2; part += 1) expected.push((head * 2 + part) * pairs + j);
          }
        }
        expect([...interleavedRowOrder(heads, 2 * pairs)]).toEqual(expected);
      }),
    );
  });

  it('undo each other', () => {
    fc.assert(
      fc.property(counts.heads, counts.pairs, fc.integer({ min: 1, max: 3 }), (heads, pairs, rowLength) => {
        const data = Float32Array.from({ length: heads * 2 * pairs * rowLength }, (_, index) => index);
        const interleaved = permuteRows(data, interleavedRowOrder(heads, 2 * pairs), rowLength);
        expect(permuteRows(interleaved, halfSplitRowOrder(heads, 2 * pairs), rowLength)).toEqual(data);
      }),
    );
  });

  it('give the same scores under RoPE on adjacent pairs as half-split heads do', () => {
    const headDim = 8;
    const frequencies = Float64Array.of(1, 0.3, 0.1, 0.03);
    const order = interleavedRowOrder(1, headDim);
    const normal = createNormalRandom(4);
    const query = Float64Array.from({ length: headDim }, normal);
    const key = Float64Array.from({ length: headDim }, normal);
    const rotateAdjacent = (rows: Float64Array, position: number) =>
      rows.map((value, k) => {
        const angle = position * frequencies[k >> 1]!;
        return k % 2 === 0
          ? value * Math.cos(angle) - rows[k + 1]! * Math.sin(angle)
          : value * Math.cos(angle) + rows[k - 1]! * Math.sin(angle);
      });
    const rotateHalves = (rows: Float64Array, firstPosition: number) =>
      rotate(rows, { tokens: 1, heads: 1, headDim, frequencies, firstPosition });
    const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, k) => sum + value * b[k]!, 0);
    const interleaved = dot(
      rotateAdjacent(permuteRows(query, order, 1), 11),
      rotateAdjacent(permuteRows(key, order, 1), 4),
    );
    expect(interleaved).toBeCloseTo(dot(rotateHalves(query, 11), rotateHalves(key, 4)), 12);
  });

  it('refuse odd widths', () => {
    expectKvlrError(() => interleavedRowOrder(1, 5), 'invalid-argument', /width 5/);
    expectKvlrError(() => halfSplitRowOrder(0, 4), 'invalid-argument', /got 0 heads/);
  });
});

describe('permuteRows', () => {
  it('takes rows in the given order and keeps the type, down to stored bytes', () => {
    const bytes = Uint8Array.of(1, 2, 3, 4, 5, 6);
    expect(permuteRows(bytes, Uint32Array.of(2, 0, 1), 2)).toEqual(Uint8Array.of(5, 6, 1, 2, 3, 4));
  });

  it('refuses an order that does not fit', () => {
    const order = Uint32Array.of(0, 1);
    expectKvlrError(() => permuteRows(new Float32Array(5), order, 2), 'invalid-argument', /2 rows of 2, got 5 entries/);
    expectKvlrError(() => permuteRows(new Float32Array(2), Uint32Array.of(0, 2), 1), 'invalid-argument', /got 2 at/);
  });
});
