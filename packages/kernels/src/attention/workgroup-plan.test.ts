import fc from 'fast-check';
import { expect, it } from 'vitest';
import { LEAST_SPLIT, MOST_SPLITS, splitsOf } from './workgroup-plan.ts';

const h100 = { subgroup: 32, workgroups: 264, workgroupBytes: 49152 };

it('divides long caches so that a multiprocessor has eight workgroups, short ones so that it has four', () => {
  expect([splitsOf(32768, 32, 1, h100), splitsOf(32768, 8, 8, h100), splitsOf(32768, 32, 8, h100)]).toEqual([
    33, 16, 4,
  ]);
  expect([splitsOf(2048, 32, 1, h100), splitsOf(2048, 8, 1, h100), splitsOf(32768, 32, 64, h100)]).toEqual([16, 32, 1]);
});

it('makes no workgroups that would begin when all others are done, and none that has hardly an entry', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200_000 }),
      fc.integer({ min: 1, max: 64 }),
      fc.integer({ min: 1, max: 64 }),
      (capacity, headRuns, batch) => {
        const splits = splitsOf(capacity, headRuns, batch, h100);
        expect(splits === 1 || splits * headRuns * batch <= 8 * 132).toBe(true);
        expect(splits).toBeLessThanOrEqual(Math.min(MOST_SPLITS, Math.ceil(capacity / LEAST_SPLIT)));
      },
    ),
  );
});
