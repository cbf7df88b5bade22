import { scaleLinear } from 'd3-scale';
import type { TaskReport, TaskRow } from '../documents/task-report.ts';
import { formatBytes, formatSignificant, wrapText } from '../format/format.ts';
import type { Markup } from '../markup.ts';
import { label, marker, type Plot, rule, seriesClass } from './plot.ts';

const [plotTop, plotBottom] = [34, 196];

/**
 * One metric of one task against the bytes of the cache, a marker for each condition with one standard error to either side;
 * the line is at the first condition's value.
 */
export function taskPlot({ conditions }: TaskReport, row: TaskRow, width = 400): Plot {
  const [plotLeft, plotRight] = [56, width - 20];
  const bytes = conditions.map(({ cacheBytes }) => cacheBytes);
  const edges = row.values.flatMap(({ value, standardError = 0 }) => [value - standardError, value + standardError]);
  const [low, high] = [Math.min(...edges), Math.max(...edges)];
  const margin = (high - low || Math.abs(high) || 1) * 0.15;
  const x = scaleLinear([0, 1.08 * Math.max(...bytes)], [plotLeft, plotRight]);
  const y = scaleLinear([low - margin, high + margin], [plotBottom, plotTop]);
  const shapes: Markup[] = [
    label(`${row.task}, ${row.metric} ${row.higherIsBetter ? '↑' : '↓'}`, 4, 16, { className: 'muted' }),
  ];
  for (const tick of y.ticks(4)) {
    shapes.push(rule(plotLeft, y(tick), plotRight, y(tick), 'grid'));
    const text = formatSignificant(tick);
    shapes.push(label(text, plotLeft - 8, y(tick) + 4, { anchor: 'end', className: 'muted' }));
  }
  shapes.push(rule(plotLeft, plotBottom, plotRight, plotBottom, 'axis'));
  for (const size of [...new Set(bytes)]) {
    shapes.push(rule(x(size), plotBottom, x(size), plotBottom + 5, 'axis'));
    shapes.push(label(formatBytes(size), x(size), plotBottom + 20, { anchor: 'middle', className: 'muted' }));
  }
  const text = 'KV cache at 1,024 tokens';
  shapes.push(label(text, plotRight, plotBottom + 40, { anchor: 'end', className: 'muted' }));
  const first = y(row.values[0]!.value);
  shapes.push(rule(plotLeft, first, plotRight, first, `thin ${seriesClass('base', 's')}`));
  row.values.forEach(({ value, standardError = 0 }, place) => {
    const at = x(bytes[place]!);
    shapes.push(rule(at, y(value - standardError), at, y(value + standardError), `error ${seriesClass(place, 's')}`));
    shapes.push(marker(place, at, y(value), `${conditions[place]!.name}: ${formatSignificant(value)}`));
  });
  const values = conditions.map(({ name }, place) => `${name} ${formatSignificant(row.values[place]!.value)}`);
  return {
    width,
    height: plotBottom + 52,
    title: wrapText(`${row.task}: ${row.metric} against the bytes of the cache`, 80, 1)[0]!,
    description: `${values.join(', ')}.`,
    shapes,
  };
}
