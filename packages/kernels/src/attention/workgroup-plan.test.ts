import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LEAST_SPLIT, MOST_SPLITS, splitsOf } from './workgroup-plan.ts';

const h100 = { subgroup: 32, workgroups: 264, workgroupBytes: 49152 };

const split = (capacity: number, heads: number, headRuns: number, batch: number) =>
  splitsOf(capacity, { heads, headRuns, batch }, h100);

it('divides long caches so that a multiprocessor has eight workgroups, short ones so that it has four', () => {
  expect([split(32768, 1, 32, 1), split(32768, 4, 8, 8), split(32768, 1, 32, 8)]).toEqual([33, 16, 4]);
  expect([split(2048, 1, 32, 1), split(2048, 4, 8, 1), split(32768, 1, 32, 64)]).toEqual([16, 32, 1]);
});

it('makes more than 64 parts to even them out only of a cache that every workgroup reads for one head', () => {
  expect([split(32768, 1, 9, 1), split(32768, 4, 8, 1)]).toEqual([117, 66]);
});

it('makes no workgroups that would begin when all others are done, and none that has hardly an entry', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200_000 }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 1, max: 64 }),
      (capacity, heads, headRuns, batch) => {
        const splits = split(capacity, heads, headRuns, batch);
        expect(splits === 1 || splits * headRuns * batch <= 8 * 132).toBe(true);
        expect(splits).toBeLessThanOrEqual(Math.min(MOST_SPLITS, Math.ceil(capacity / LEAST_SPLIT)));
      },
    ),
  );
});
