import { expect, test } from 'vitest';
import { createNormalRandom, createRandom } from './random.ts';

const draw = (random: () => number, count: number) => Array.from({ length: count }, random);

test('the same seed gives the same stream, another seed another', () => {
  expect(draw(createRandom(5), 8)).toEqual(draw(createRandom(5), 8));
  expect(draw(createRandom(5), 8)).not.toEqual(draw(createRandom(6), 8));
});

test('uniform numbers lie in [0, 1) and have mean 1/2 and variance 1/12', () => {
  const numbers = draw(createRandom(1), 20000);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  const mean = numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
  expect(mean).toBeCloseTo(0.5, 2);
  expect(numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / numbers.length).toBeCloseTo(1 / 12, 2);
});

test('normal numbers have mean 0, variance 1 and fourth moment 3', () => {
  const numbers = draw(createNormalRandom(2), 50000);
  const moment = (power: number) => numbers.reduce((sum, value) => sum + value ** power, 0) / numbers.length;
  expect(Math.abs(moment(1))).toBeLessThan(0.02);
  expect(Math.abs(moment(2) - 1)).toBeLessThan(0.03);
  expect(Math.abs(moment(4) - 3)).toBeLessThan(0.25);
});
