import { scaleLinear, scaleSymlog } from 'd3-scale';
import { line } from 'd3-shape';
import { formatCount } from '../format/format.ts';
import { element, type Markup } from '../markup.ts';
import { dashes, label, marker, type Plot, rule, seriesClass, spreadLabels, svgDocument } from './plot.ts';

/** Perplexity of several starts at the same steps of training. */
export interface TrainingSteps {
  title: string;
  /** The first is what the others are to come back to. */
  rows: readonly { start: string; readings: readonly { step: number; perplexity: number }[] }[];
}

const [left, right, top, height] = [62, 130, 40, 300];

/** Perplexity against steps of training, a line for each start. */
export function trainingStepsSvg(steps: TrainingSteps): string {
  return svgDocument(stepsPlot(steps));
}

/** Distances from the first reading of the first row are logarithmic, linear near it: starts differ by more than training moves them. */
function stepsPlot({ title, rows }: TrainingSteps, width = 760): Plot {
  const readings = rows.flatMap((row) => row.readings);
  const origin = rows[0]!.readings[0]!.perplexity;
  const values = readings.map(({ perplexity }) => perplexity - origin);
  const x = scaleLinear([0, Math.max(1, ...readings.map(({ step }) => step))], [left, width - right]);
  const y = scaleSymlog([Math.min(-0.1, ...values), Math.max(0.1, ...values) * 1.1], [top + height, top]).constant(0.1);
  const at = ({ step, perplexity }: (typeof readings)[number]): [number, number] => [x(step), y(perplexity - origin)];
  const shapes: Markup[] = [label('perplexity', 4, top - 18, { className: 'muted' })];
  const [lowest, highest] = y.domain() as [number, number];
  for (const tick of [-1, -0.2, 0, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]) {
    if (tick < lowest || tick > highest) continue;
    shapes.push(
      rule(left, y(tick), width - right, y(tick), tick === 0 ? 'axis' : 'grid'),
      label((origin + tick).toFixed(tick < 10 ? 1 : 0), left - 8, y(tick) + 4, { anchor: 'end', className: 'muted' }),
    );
  }
  for (const { step } of rows[0]!.readings) {
    shapes.push(
      rule(x(step), top, x(step), top + height, 'grid'),
      label(formatCount(step), x(step), top + height + 18, { anchor: 'middle', className: 'muted' }),
    );
  }
  shapes.push(label('steps', width - right, top + height + 38, { anchor: 'end', className: 'muted' }));
  const path = line<(typeof readings)[number]>(
    (reading) => at(reading)[0],
    (reading) => at(reading)[1],
  ).digits(2);
  const ends = rows.map(({ readings: own }, series) => ({ series, y: at(own.at(-1)!)[1] })).sort((a, b) => a.y - b.y);
  const places = spreadLabels(
    ends.map((end) => end.y),
    18,
    top,
    top + height,
  );
  rows.forEach(({ start, readings: own }, series) => {
    const style = { class: `line ${seriesClass(series, 's')}`, 'stroke-dasharray': dashes[series % dashes.length] };
    shapes.push(element('path', { d: path([...own]) ?? '', ...style }));
    for (const reading of own) {
      shapes.push(marker(series, ...at(reading), `${start}, ${reading.step} steps: ${reading.perplexity.toFixed(2)}`));
    }
    const place = places[ends.findIndex((end) => end.series === series)]!;
    const className = `small ${seriesClass(series, 'f')}`;
    shapes.push(label(start, width - right + 12, place + 4, { className }));
  });
  const course = rows.map(({ start, readings: own }) => {
    return `${start} ${own.map(({ perplexity }) => perplexity.toFixed(2)).join(', ')}`;
  });
  return {
    ...{ width, height: top + height + 46, title, shapes },
    description: `Perplexity at ${rows[0]!.readings.map(({ step }) => step).join(', ')} steps: ${course.join('; ')}.`,
  };
}
