import fc from 'fast-check';
import { expect, it } from 'vitest';
import { expNonpositive } from './exp-nonpositive.ts';

it('agrees with Math.exp', () => {
  fc.assert(
    fc.property(fc.double({ min: -100, max: 0, noNaN: true }), (x) => {
      expect(Math.abs(expNonpositive(x) / Math.exp(x) - 1)).toBeLessThan(5e-14);
    }),
    { numRuns: 2000 },
  );
});

it('is exact at zero, vanishes far below it and passes NaN on', () => {
  expect(expNonpositive(0)).toBe(1);
  expect(expNonpositive(-1000)).toBe(0);
  expect(expNonpositive(Number.NEGATIVE_INFINITY)).toBe(0);
  expect(expNonpositive(Number.NaN)).toBeNaN();
});
