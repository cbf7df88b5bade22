import { expect, it } from 'vitest';
import type { TrainingCourse } from '../documents/compression-report.ts';
import { inlineSvg } from './plot.ts';
import { heldOutPerplexityPlot, lossPlot } from './training-plot.ts';

const course: TrainingCourse = {
  readings: [
    { tokens: 0, heldOutLoss: 0.0123, heldOutPerplexity: 18.2 },
    { tokens: 1000, trainingLoss: 0.013, heldOutLoss: 0.0111, heldOutPerplexity: 18.1 },
    { tokens: 2000, trainingLoss: 0.011, heldOutLoss: 0.0115, heldOutPerplexity: 18.15 },
  ],
};

it('draws what was learnt and tells it in words', () => {
  const plot = lossPlot(course);
  expect(plot.description).toBe('Loss on held-out text: 0.0123 → 0.0111.');
  expect(inlineSvg(plot, 'loss').source.match(/<path/g)).toHaveLength(2);
  expect(heldOutPerplexityPlot(course).description).toContain('18.20 → 18.10');
});

it('marks what was kept on the way back, and leaves it out of the line', () => {
  const back = { tokens: 2000, heldOutLoss: 0.0105, heldOutPerplexity: 18.05, partOfTheWay: 0.6 };
  const plot = lossPlot({ ...course, readings: [...course.readings, back] });
  expect(plot.description).toBe('Loss on held-out text: 0.0123 → 0.0105.');
  const pathOf = (from: typeof plot) =>
    inlineSvg(from, 'loss')
      .source.match(/d="([^"]*)"/)![1]!
      .match(/[ML]/g);
  expect(pathOf(plot)).toEqual(pathOf(lossPlot(course)));
});

it('draws a course of one reading', () => {
  const { source } = inlineSvg(lossPlot({ readings: course.readings.slice(0, 1) }), 'loss');
  expect(source).not.toContain('NaN');
  expect(source).toContain('<circle');
});
