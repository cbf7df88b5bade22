import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import type { TrainingCourse } from '../documents/compression-report.ts';
import { formatCount } from '../format/format.ts';
import { element, type Markup } from '../markup.ts';
import { dashes, label, type Plot, rule, seriesClass } from './plot.ts';

/** The lines of the loss, in the order and under the names in which reports show them. */
export const trainingKinds = [
  { kind: 'heldOutLoss', title: 'held-out text' },
  { kind: 'trainingLoss', title: 'text that is trained on' },
] as const;

/** Loss by tokens of training. */
export function lossPlot({ readings }: TrainingCourse): Plot {
  const lines = trainingKinds.map(({ kind }) => pointsOf(readings, (reading) => reading[kind]));
  const best = bestOf(readings);
  return curves('Loss', lines, best && [best.tokens, best.heldOutLoss], formatLoss);
}

/** Perplexity of held-out text by tokens of training. */
export function heldOutPerplexityPlot({ readings }: TrainingCourse): Plot {
  const points = pointsOf(readings, ({ heldOutPerplexity }) => heldOutPerplexity);
  const best = bestOf(readings);
  const point: Point | undefined = best && [best.tokens, best.heldOutPerplexity];
  return curves('Held-out perplexity', [points], point, (value) => value.toPrecision(4));
}

type Reading = TrainingCourse['readings'][number];
type Point = [tokens: number, value: number];

/** Those of the steps: what lies back on their way is no part of the course. */
function pointsOf(readings: readonly Reading[], read: (reading: Reading) => number | undefined): Point[] {
  return readings.flatMap((reading): Point[] => {
    const value = read(reading);
    if (value === undefined || !Number.isFinite(value) || reading.partOfTheWay !== undefined) return [];
    return [[reading.tokens, value]];
  });
}

/** The reading whose weights were kept. */
function bestOf(readings: readonly Reading[]): Reading | undefined {
  const measured = readings.filter(({ heldOutLoss }) => Number.isFinite(heldOutLoss));
  return measured.sort((left, right) => left.heldOutLoss - right.heldOutLoss)[0];
}

function curves(
  name: string,
  lines: readonly Point[][],
  best: Point | undefined,
  format: (value: number) => string,
): Plot {
  const [width, height] = [360, 208];
  const [plotTop, plotBottom, plotLeft, plotRight] = [30, 166, 56, 340];
  const values = [...lines.flat(), ...(best ? [best] : [])].map(([, value]) => value);
  const [lowest, highest] = [Math.min(...values), Math.max(...values)];
  const margin = (highest - lowest || Math.abs(highest) || 1) * 0.08;
  const x = scaleLinear([0, Math.max(1, ...lines.flat().map(([tokens]) => tokens))], [plotLeft, plotRight]);
  const y = scaleLinear([lowest - margin, highest + margin], [plotBottom, plotTop]);
  const first = lines[0]!.at(0);
  const change = first && best ? `${format(first[1])} → ${format(best[1])}` : '';
  const shapes: Markup[] = [
    label(name, 4, 15, { className: 'strong' }),
    label(change, plotRight, 15, { anchor: 'end', className: `strong ${seriesClass(0, 'f')}` }),
  ];
  for (const tick of y.ticks(4)) {
    shapes.push(rule(plotLeft, y(tick), plotRight, y(tick), 'grid'));
    shapes.push(label(format(tick), plotLeft - 6, y(tick) + 4, { anchor: 'end', className: 'small muted' }));
  }
  shapes.push(rule(plotLeft, plotBottom, plotRight, plotBottom, 'axis'));
  for (const tick of x.ticks(4)) {
    shapes.push(rule(x(tick), plotBottom, x(tick), plotBottom + 4, 'axis'));
    shapes.push(label(formatCount(tick), x(tick), plotBottom + 18, { anchor: 'middle', className: 'small muted' }));
  }
  shapes.push(label('tokens', plotRight, plotBottom + 36, { anchor: 'end', className: 'small muted' }));
  const path = line<Point>(
    ([tokens]) => x(tokens),
    ([, value]) => y(value),
  ).digits(2);
  lines.forEach((points, index) => {
    const d = path(points) ?? undefined;
    if (d) {
      shapes.push(element('path', { d, class: `line ${seriesClass(index, 's')}`, 'stroke-dasharray': dashes[index] }));
    }
  });
  if (best) shapes.push(element('circle', { cx: x(best[0]), cy: y(best[1]), r: 3, class: seriesClass(0, 'f') }));
  return { width, height, title: `${name} in training`, description: `${name} on held-out text: ${change}.`, shapes };
}

function formatLoss(value: number): string {
  return Math.abs(value) < 0.1 ? value.toFixed(4) : value.toFixed(3);
}
