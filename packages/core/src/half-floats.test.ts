import fc from 'fast-check';
import { expect, it } from 'vitest';
import { fromBfloat, fromHalf, halfTable, toBfloat, toFiniteHalf, toHalf } from './half-floats.ts';

it('brings every half back unchanged', () => {
  const numbers = Array.from({ length: 0x10000 }, (_, half) => half).filter((half) => !Number.isNaN(fromHalf(half)));
  expect(numbers.length).toBe(0x10000 - 2 * 0x3ff);
  expect(numbers.map((half) => toHalf(fromHalf(half)))).toEqual(numbers);
});

it('rounds to the nearest half, ties to even', () => {
  fc.assert(
    fc.property(fc.double({ min: -65504, max: 65504, noNaN: true }).map(Math.fround), (value) => {
      const half = toHalf(value);
      const distance = Math.abs(fromHalf(half) - value);
      for (const neighbour of [half - 1, half + 1]) {
        if ((neighbour & 0x7fff) > 0x7bff || neighbour < 0 || (neighbour ^ half) & 0x8000) continue;
        const other = Math.abs(fromHalf(neighbour) - value);
        expect(distance < other || (distance === other && half % 2 === 0)).toBe(true);
      }
    }),
    { numRuns: 2000 },
  );
  expect(toHalf(1e6)).toBe(0x7c00);
  expect(toHalf(Number.NaN)).toBe(0x7e00);
});

it('halves stay finite', () => {
  expect(halfTable()[toFiniteHalf(1e9)]).toBe(65504);
  expect(halfTable()[toFiniteHalf(-1e9)]).toBe(-65504);
});

it('rounds to the nearest bfloat on the asked side, within 2^-7', () => {
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
