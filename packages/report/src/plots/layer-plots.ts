import { scaleLinear, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';
import { type LayerReconstruction, type LayerSpectra, spectrumKinds } from '../documents/compression-report.ts';
import { formatCount, formatFineShare, formatPercent } from '../format/format.ts';
import { element, type Markup } from '../markup.ts';
import { energyShare } from '../tables/energy-table.ts';
import { dashes, label, logarithmicTicks, type Plot, rule, seriesClass } from './plot.ts';

/** The axis ends at this share of the largest eigenvalue; lines that fall below it leave the panel there. */
const floor = 1e-6;
const pointsPerLine = 72;

/** The spectrum as points [share of directions, share of the largest eigenvalue], thinned to what the panel can show. */
function spectrumPoints(eigenvalues: ArrayLike<number>): [number, number][] {
  const count = eigenvalues.length;
  const largest = eigenvalues[0] ?? 0;
  if (count === 0 || !(largest > 0)) return [];
  const shown = Math.min(count, pointsPerLine);
  const points: [number, number][] = [];
  for (let point = 0; point < shown; point++) {
    const index = shown === 1 ? 0 : Math.round((point * (count - 1)) / (shown - 1));
    const relative = eigenvalues[index]! / largest;
    points.push([(index + 1) / count, Math.max(floor, relative)]);
    if (relative <= floor) break;
  }
  return points;
}

/** One layer's eigenvalues for keys before and after RoPE and for values, relative to the largest, logarithmic. */
export function spectrumPlot(spectra: LayerSpectra): Plot {
  const [width, height] = [300, 232];
  const [plotTop, plotBottom, plotLeft, plotRight] = [46, 190, 40, 282];
  const x = scaleLinear([0, 1], [plotLeft, plotRight]);
  const y = scaleLog([floor, 1], [plotBottom, plotTop]);
  const shapes: Markup[] = [label(`Layer ${spectra.layer}`, 4, 15, { className: 'strong' })];
  for (let power = 0; power >= Math.log10(floor); power--) {
    const at = y(10 ** power);
    shapes.push(rule(plotLeft, at, plotRight, at, power === Math.log10(floor) ? 'axis' : 'grid'));
    if (power % 2 === 0) {
      const text = power === 0 ? '1' : `10${superscript(power)}`;
      shapes.push(label(text, plotLeft - 6, at + 4, { anchor: 'end', className: 'small muted' }));
    }
  }
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    shapes.push(rule(x(share), plotBottom, x(share), plotBottom + 4, 'axis'));
    shapes.push(
      label(formatPercent(share, 0), x(share), plotBottom + 18, { anchor: 'middle', className: 'small muted' }),
    );
  }
  shapes.push(rule(x(0.25), plotTop, x(0.25), plotBottom, 'grid'));
  shapes.push(
    label('share of the directions', plotRight, plotBottom + 36, { anchor: 'end', className: 'small muted' }),
  );
  const path = line<[number, number]>(
    (point) => x(point[0]),
    (point) => y(point[1]),
  ).digits(2);
  const held: string[] = [];
  spectrumKinds.forEach(({ kind, title }, series) => {
    const d = path(spectrumPoints(spectra[kind])) ?? undefined;
    const stroke = seriesClass(series, 's');
    if (d) shapes.push(element('path', { d, class: `line ${stroke}`, 'stroke-dasharray': dashes[series] }));
    const share = formatPercent(energyShare(spectra[kind], 0.25), 0);
    held.push(`${title} ${share}`);
    shapes.push(
      label(share, plotRight - 2 * 46 + series * 46, 15, {
        anchor: 'end',
        className: `strong ${seriesClass(series, 'f')}`,
      }),
    );
  });
  shapes.push(label('held by the first quarter', plotRight, 30, { anchor: 'end', className: 'small muted' }));
  return {
    width,
    height,
    title: `Spectra of layer ${spectra.layer}`,
    description: `Eigenvalues relative to the largest, logarithmic. Energy in the first quarter of the directions: ${held.join(', ')}.`,
    shapes,
  };
}

function superscript(power: number): string {
  return String(power)
    .replace('-', '⁻')
    .replace(/\d/g, (digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]!);
}

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
