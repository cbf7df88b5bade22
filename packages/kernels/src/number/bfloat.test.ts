import fc from 'fast-check';
import { expect, it } from 'vitest';
import { fromBfloat, toBfloat } from './bfloat.ts';

it('rounds to the nearest on the asked side, within 2^-7', () => {
  fc.assert(
    fc.property(fc.double({ min: -1e30, max: 1e30, noNaN: true }).map(Math.fround), (value) => {
      const below = fromBfloat(toBfloat(value, 'down'));
      const above = fromBfloat(toBfloat(value, 'up'));
      expect(below).toBeLessThanOrEqual(value);
      expect(above).toBeGreaterThanOrEqual(value);
      expect(above - below).toBeLessThanOrEqual(Math.abs(value) * 2 ** -7 + 1e-37);
    }),
  );
});
