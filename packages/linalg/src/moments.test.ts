import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { largestDifference, plainTransposeProduct, randomMatrix } from '../test-support/matrices.ts';
import { SecondMoment } from './moments.ts';

const sizes = {
  width: fc.integer({ min: 1, max: 13 }),
  rows: fc.integer({ min: 1, max: 40 }),
  seed: fc.nat(1e6),
};

describe('SecondMoment', () => {
  it('agrees with the plain sums over all rows, however they are cut up and merged', () => {
    fc.assert(
      fc.property(sizes.width, sizes.rows, sizes.rows, sizes.seed, (width, first, second, seed) => {
        const all = randomMatrix(first + second, width, seed);
        const one = new SecondMoment(width);
        one.add(all.data.subarray(0, first * width), first);
        const other = new SecondMoment(width);
        other.add(all.data.subarray(first * width), second);
        one.merge(other);
        const count = first + second;
        const expected = plainTransposeProduct(all, all).data.map((value) => value / count);
        const mean = Float64Array.from({ length: width }, (_, col) => {
          let sum = 0;
          for (let row = 0; row < count; row += 1) sum += all.data[row * width + col]!;
          return sum / count;
        });
        expect(one.count).toBe(count);
        expect(largestDifference(one.secondMoment(), expected)).toBeLessThan(1e-13);
        expect(largestDifference(one.mean(), mean)).toBeLessThan(1e-14);
      }),
      { numRuns: 100 },
    );
  });

  it('takes float32 rows in batches longer than one pass and sums them in Float64', () => {
    const all = randomMatrix(700, 6, 3);
    const rounded = { ...all, data: Float64Array.from(Float32Array.from(all.data)) };
    const moment = new SecondMoment(6);
    moment.add(Float32Array.from(all.data), 700);
    const expected = plainTransposeProduct(rounded, rounded).data.map((value) => value / 700);
    expect(largestDifference(moment.secondMoment(), expected)).toBeLessThan(1e-14);
  });

  it('is exactly symmetric', () => {
    const moment = new SecondMoment(5);
    moment.add(randomMatrix(9, 5, 1).data, 9);
    const result = moment.secondMoment();
    for (let i = 0; i < 5; i += 1) for (let j = 0; j < 5; j += 1) expect(result[i * 5 + j]).toBe(result[j * 5 + i]);
  });

  it('goes on from stored parts', () => {
    const all = randomMatrix(20, 4, 2).data;
    const whole = new SecondMoment(4);
    whole.add(all, 20);
    const half = new SecondMoment(4);
    half.add(all.subarray(0, 40), 10);
    const resumed = SecondMoment.fromParts({ count: half.count, secondMoment: half.secondMoment(), mean: half.mean() });
    resumed.add(all.subarray(40), 10);
    expect(resumed.count).toBe(20);
    expect(largestDifference(resumed.secondMoment(), whole.secondMoment())).toBeLessThan(1e-15);
    expect(largestDifference(resumed.mean(), whole.mean())).toBeLessThan(1e-15);
  });

  it('adds nothing when a number is not finite', () => {
    const moment = new SecondMoment(2);
    moment.add(Float32Array.of(1, 2), 1);
    const rows = Float32Array.of(1, 1, 1, Number.NaN);
    expectKvlrError(() => moment.add(rows, 2), 'non-finite', /NaN at row 1, column 1/);
    expect(moment.count).toBe(1);
    expect([...moment.secondMoment()]).toEqual([1, 2, 2, 4]);
    expect([...moment.mean()]).toEqual([1, 2]);
  });

  it('refuses sizes that do not fit and moments of nothing', () => {
    const moment = new SecondMoment(2);
    expectKvlrError(() => moment.add(new Float32Array(3), 2), 'invalid-argument', /2 rows of 2 numbers, got 3/);
    expectKvlrError(() => moment.merge(new SecondMoment(3)), 'invalid-argument', /width 2, got width 3/);
    expectKvlrError(() => moment.secondMoment(), 'invalid-argument', /at least one row/);
    expectKvlrError(() => moment.mean(), 'invalid-argument', /at least one row/);
    expectKvlrError(() => new SecondMoment(1.5), 'invalid-argument', /width/);
    const parts = { count: 1, secondMoment: new Float64Array(3), mean: new Float64Array(2) };
    expectKvlrError(() => SecondMoment.fromParts(parts), 'invalid-argument', /2x2 numbers .*got 3/);
  });
});
