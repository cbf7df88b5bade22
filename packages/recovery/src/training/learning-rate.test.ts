import { expect, it } from 'vitest';
import { learningRateAt } from './learning-rate.ts';

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
