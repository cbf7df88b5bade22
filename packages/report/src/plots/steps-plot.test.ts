import { expect, it } from 'vitest';
import { elements, findBrokenNumbers, findFaults, hostileStrings, parseMarkup } from '../testing/markup-faults.ts';
import { type TrainingSteps, trainingStepsSvg } from './steps-plot.ts';

const readings = (...perplexities: number[]) =>
  perplexities.map((perplexity, place) => ({ step: 60 * place, perplexity }));
const steps: TrainingSteps = {
  title: 'Perplexity by steps',
  rows: [
    { start: 'original', readings: readings(30.6, 30.5, 30.4) },
    { start: 'mean-pool', readings: readings(76, 60, 50) },
    { start: 'kvlr', readings: readings(30.8, 30.7, 30.7) },
  ],
};

it('draws a line and its readings for each start, and says them in words', () => {
  const svg = trainingStepsSvg(steps);
  expect(elements(parseMarkup(svg), 'path')).toHaveLength(3 + 9);
  expect(svg).toContain('mean-pool 76.00, 60.00, 50.00');
  expect(findBrokenNumbers(svg)).toEqual([]);
});

it('places better readings lower', () => {
  const heights = [...trainingStepsSvg(steps).matchAll(/translate\(\S+ (\S+)\)/g)].map(([, y]) => Number(y));
  const [original, meanPool] = [heights.slice(0, 3), heights.slice(3, 6)];
  expect(original).toEqual(original.toSorted((a, b) => a - b));
  expect(Math.max(...meanPool)).toBeLessThan(Math.min(...original));
});

it.each(hostileStrings)('keeps %j as text', (start) => {
  const svg = trainingStepsSvg({ ...steps, rows: [{ start, readings: readings(30, 31) }] });
  expect(findFaults(svg)).toEqual([]);
});
