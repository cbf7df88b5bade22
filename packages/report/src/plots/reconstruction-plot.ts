import { scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';
import type { LayerReconstruction } from '../documents/layer-reconstruction.ts';
import { formatCount, formatFineShare } from '../format/format-number.ts';
import { element, type Markup } from '../markup/element.ts';
import { logarithmicTicks } from './logarithmic-ticks.ts';
import type { Plot } from './plot-frame.ts';
import { dashes, label, rule, seriesClass } from './shapes.ts';

export const reconstructionKinds = [
  { kind: 'heldOutError', title: 'held-out text' },
  { kind: 'trainingError', title: 'fitted text' },
] as const;

function positive(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value) && value > 0;
}

/** One layer's error during block reconstruction, logarithmic. */
export function reconstructionPlot(layer: LayerReconstruction): Plot {
  const [width, height] = [300, 208];
  const [plotTop, plotBottom, plotLeft, plotRight] = [30, 166, 56, 284];
  const series = reconstructionKinds.map(({ kind }) =>
    layer.history.flatMap((reading): [number, number][] => {
      const error = reading[kind];
      return positive(error) ? [[reading.step, error]] : [];
    }),
  );
  const errors = series.flat().map((point) => point[1]);
  const shapes: Markup[] = [label(`Layer ${layer.layer}`, 4, 15, { className: 'strong' })];
  const change = `${formatFineShare(layer.heldOutBefore)} → ${formatFineShare(layer.heldOutAfter)}`;
  shapes.push(label(change, plotRight, 15, { anchor: 'end', className: `strong ${seriesClass(0, 'f')}` }));
  if (errors.length > 0) {
    const [lowest, highest] = [Math.min(...errors) / 1.08, Math.max(...errors) * 1.08];
    const lastStep = Math.max(1, ...series.flat().map((point) => point[0]));
    const x = scaleLinear([0, lastStep], [plotLeft, plotRight]);
    const y = scaleLog([lowest, highest], [plotBottom, plotTop]);
    for (const tick of logarithmicTicks(lowest, highest, 5)) {
      shapes.push(rule(plotLeft, y(tick), plotRight, y(tick), 'grid'));
      shapes.push(label(formatError(tick), plotLeft - 6, y(tick) + 4, { anchor: 'end', className: 'small muted' }));
    }
    shapes.push(rule(plotLeft, plotBottom, plotRight, plotBottom, 'axis'));
    for (const tick of x.ticks(4)) {
      shapes.push(rule(x(tick), plotBottom, x(tick), plotBottom + 4, 'axis'));
      shapes.push(label(formatCount(tick), x(tick), plotBottom + 18, { anchor: 'middle', className: 'small muted' }));
    }
    shapes.push(label('steps', plotRight, plotBottom + 36, { anchor: 'end', className: 'small muted' }));
    const path = line<[number, number]>(
      (point) => x(point[0]),
      (point) => y(point[1]),
    ).digits(2);
    series.forEach((points, index) => {
      const d = path(points) ?? undefined;
      const className = `line ${seriesClass(index, 's')}`;
      if (d) shapes.push(element('path', { d, class: className, 'stroke-dasharray': dashes[index] }));
      // The end stands out, and a series of one reading shows at all.
      const end = points.at(-1);
      if (end) shapes.push(element('circle', { cx: x(end[0]), cy: y(end[1]), r: 3, class: seriesClass(index, 'f') }));
    });
  }
  return {
    width,
    height,
    title: `Block reconstruction of layer ${layer.layer}`,
    description: `Error on held-out calibration text, from closed form to the weights that were kept: ${change}.`,
    shapes,
  };
}

function formatError(value: number): string {
  return `${(value * 100).toLocaleString('en-US', { maximumSignificantDigits: 3 })}%`;
}
