import fc from 'fast-check';
import { expect, it } from 'vitest';
import { batchOrder, learningRateAt } from './schedule.ts';

it('shows every window equally often, in an order that the seed decides', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 12 }),
      fc.nat(),
      (windows, perBatch, seed) => {
        const take = () => {
          const batches = batchOrder(windows, perBatch, seed);
          return Array.from({ length: windows }, () => batches.next().value);
        };
        const seen = take();
        expect(take()).toEqual(seen);
        const counts = new Array<number>(windows).fill(0);
        for (const window of seen.flat()) counts[window]! += 1;
        expect(counts).toEqual(new Array<number>(windows).fill(perBatch));
      },
    ),
  );
});

it('gives other seeds other orders', () => {
  const first = (seed: number) => batchOrder(50, 50, seed).next().value;
  expect(first(1)).not.toEqual(first(2));
});

it('rises in a line, then falls along half a cosine to almost zero', () => {
  const schedule = { learningRate: 2, steps: 104, warmupSteps: 4 };
  expect([0, 1, 2, 3].map((step) => learningRateAt(step, schedule))).toEqual([0.5, 1, 1.5, 2]);
  expect(learningRateAt(4, schedule)).toBe(2);
  expect(learningRateAt(54, schedule)).toBeCloseTo(1, 12);
  expect(learningRateAt(103, schedule)).toBeLessThan(1e-3);
  expect(learningRateAt(103, schedule)).toBeGreaterThan(0);
});

it('needs no warm-up', () => {
  expect(learningRateAt(0, { learningRate: 2, steps: 1, warmupSteps: 0 })).toBe(2);
});
