import fc from 'fast-check';
import { expect, it } from 'vitest';
import { fromHalf, toHalf } from './half.ts';

it('brings every half back unchanged', () => {
  for (let half = 0; half < 0x10000; half++) {
    const value = fromHalf(half);
    if (!Number.isNaN(value)) expect(toHalf(value)).toBe(half);
  }
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
