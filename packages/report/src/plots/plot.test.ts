import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binaryTicks, logarithmicTicks, spreadLabels } from './plot.ts';

describe('logarithmicTicks', () => {
  it('gives round values for the range of a comparison', () => {
    expect(logarithmicTicks(29, 225, 10)).toEqual([30, 40, 50, 70, 100, 150, 200]);
  });

  it('stays inside the range, ascending, and within its count', () => {
    const bound = fc.double({ min: -8, max: 8, noNaN: true });
    fc.assert(
      fc.property(
        bound,
        fc.double({ min: 0.01, max: 12, noNaN: true }),
        fc.integer({ min: 2, max: 14 }),
        (low, span, count) => {
          const [lowest, highest] = [10 ** low, 10 ** (low + span)];
          const ticks = logarithmicTicks(lowest, highest, count);
          expect(ticks.length).toBeLessThanOrEqual(count);
          expect(ticks.every((tick) => tick >= lowest && tick <= highest)).toBe(true);
          expect(ticks.every((tick, index) => index === 0 || tick > ticks[index - 1]!)).toBe(true);
        },
      ),
    );
  });
});

describe('binaryTicks', () => {
  it('steps by powers of two from zero', () => {
    fc.assert(
      fc.property(fc.integer({ min: 8, max: 2 ** 50 }), fc.integer({ min: 3, max: 8 }), (highest, maxSteps) => {
        const ticks = binaryTicks(highest, maxSteps);
        expect(ticks[0]).toBe(0);
        expect(ticks.at(-1)).toBeLessThanOrEqual(highest);
        expect(ticks.length - 1).toBeLessThanOrEqual(maxSteps);
        expect(ticks.length - 1).toBeGreaterThanOrEqual(maxSteps / 2 - 1);
        expect(Number.isInteger(Math.log2(ticks[1]!))).toBe(true);
      }),
    );
  });
});

describe('spreadLabels', () => {
  it('keeps order, distance and bounds where there is room', () => {
    const positions = fc.array(fc.double({ min: 0, max: 100, noNaN: true }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(positions, (unsorted) => {
        const spread = spreadLabels(
          [...unsorted].sort((a, b) => a - b),
          10,
          0,
          100,
        );
        expect(spread[0]).toBeGreaterThanOrEqual(0);
        expect(spread.at(-1)).toBeLessThanOrEqual(100);
        for (let index = 1; index < spread.length; index++) {
          expect(spread[index]! - spread[index - 1]!).toBeGreaterThanOrEqual(10 - 1e-9);
        }
      }),
    );
  });

  it('leaves labels that are far apart where they are', () => {
    expect(spreadLabels([5, 40, 90], 10, 0, 100)).toEqual([5, 40, 90]);
  });
});
