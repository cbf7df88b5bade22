import { type ScaleLogarithmic, scaleLog } from 'd3-scale';
import type { ComparisonReport, ComparisonRow } from '../documents/comparison-report.ts';
import { formatMeasurement, formatRatio, formatSignificant, wrapText } from '../format/format.ts';
import { element, type Markup } from '../markup.ts';
import { groupByMethod, type MethodRows } from '../tables/comparison-tables.ts';
import { label, logarithmicTicks, marker, type Plot, rule, seriesClass, svgDocument } from './plot.ts';

const laneHeight = 17;
const lineHeight = 15;
const top = 46;
const gap = 15;

/** A method with the place of its block: names stand beside the lanes on wide plots and above them on narrow ones. */
interface Block {
  method: MethodRows;
  names: string[];
  y: number;
  height: number;
  /** Top of the first lane. */
  lanes: number;
}

/** Perplexities that a logarithmic axis can show. */
function drawable(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value) && value > 0;
}

function placeBlocks(methods: readonly MethodRows[], laneCount: number, beside: boolean): Block[] {
  const lanesHeight = laneCount * laneHeight;
  let y = top;
  return methods.map((method) => {
    const names = beside ? wrapText(method.title, 36, 4) : wrapText(`${method.title} (${method.layout})`, 46, 2);
    const namesHeight = names.length * lineHeight + (beside ? lineHeight : 3);
    const height = beside ? Math.max(lanesHeight, namesHeight) : namesHeight + lanesHeight;
    const lanes = beside ? y + (height - lanesHeight) / 2 : y + namesHeight;
    const block = { method, names, y, height, lanes };
    y += height + gap;
    return block;
  });
}

function drawName({ method, names, y, height, lanes }: Block, beside: boolean, width: number): Markup[] {
  const written = (names.length + (beside ? 1 : 0)) * lineHeight;
  const first = beside ? y + (height - written) / 2 + 12 : y + 11;
  const shapes = names.map((line, index) => label(line, 4, first + index * lineHeight, { className: 'strong' }));
  if (beside)
    return [...shapes, label(method.layout, 4, first + names.length * lineHeight, { className: 'small muted' })];
  // Above the lanes the grid and the base line would run through the text.
  return [element('rect', { class: 'surface', x: 0, y, width, height: lanes - y - 1 }), ...shapes];
}

/** One method at one ratio: a bar from the base's perplexity to its own, standard error, marker and figure. */
function drawRow(row: ComparisonRow, series: number, y: number, x: (value: number) => number, base: number): Markup[] {
  const { value, standardError = 0 } = row.perplexity;
  const [stroke, fill] = [seriesClass(series, 's'), seriesClass(series, 'f')];
  if (!drawable(value)) return [label('not finite', x(base) + 10, y + 4, { className: `small ${fill}` })];
  const shapes = [rule(x(base), y, x(value), y, `thin ${stroke}`)];
  const [low, high] = [value - standardError, value + standardError].map((edge) =>
    drawable(edge) ? x(edge) : x(value),
  );
  shapes.push(rule(low!, y, high!, y, `error ${stroke}`));
  let labelAt = Math.max(high!, x(value) + 6) + 6;
  if (row.reference && drawable(row.reference.perplexity)) {
    const { perplexity, source } = row.reference;
    const at = x(perplexity);
    const tick = { x1: at, x2: at, y1: y - 7, y2: y + 7, class: 'reference' };
    shapes.push(element('line', tick, element('title', {}, `${formatSignificant(perplexity)}, ${source}`)));
    if (at > x(value) && at < labelAt + 40) labelAt = Math.max(labelAt, at + 6);
  }
  const summary = `${row.title}, ${formatRatio(row.ratio)} kept: ${formatMeasurement(row.perplexity)}`;
  shapes.push(marker(series, x(value), y, summary));
  shapes.push(label(formatSignificant(value), labelAt, y + 4, { className: `halo small strong ${fill}` }));
  return shapes;
}

function drawAxis(x: ScaleLogarithmic<number, number>, base: number, bottom: number, width: number): Markup[] {
  const [lowest, highest] = x.domain() as [number, number];
  const [plotLeft, plotRight] = x.range() as [number, number];
  const ticks = logarithmicTicks(lowest, highest, Math.floor((plotRight - plotLeft) / 46));
  return [
    ...ticks.flatMap((tick) => [
      rule(x(tick), top - 6, x(tick), bottom, 'grid'),
      label(formatTick(tick), x(tick), bottom + 18, { anchor: 'middle', className: 'muted' }),
    ]),
    label('perplexity, logarithmic; lower is better', width - 8, bottom + 38, { anchor: 'end', className: 'muted' }),
    rule(x(base), top - 12, x(base), bottom, `line ${seriesClass('base', 's')}`),
    label(`base ${formatSignificant(base)}`, x(base), top - 19, {
      anchor: x(base) > (plotLeft + plotRight) / 2 ? 'end' : 'start',
      className: `strong ${seriesClass('base', 'f')}`,
    }),
  ];
}

function formatTick(value: number): string {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 3 });
}

function describe(methods: readonly MethodRows[], ratios: readonly number[], base: number): string {
  const rows = methods.map((method) => {
    const figures = ratios.flatMap((ratio) => {
      const row = method.byRatio.get(ratio);
      return row ? [`${formatSignificant(row.perplexity.value)} at ${formatRatio(ratio)}`] : [];
    });
    return `${method.title}: ${figures.join(', ')}.`;
  });
  return `Perplexity on a logarithmic scale, lower is better; the base model has ${formatSignificant(base)}. ${rows.join(' ')}`;
}

/**
 * Perplexity by method and ratio: one lane per ratio, bars that start at the base's perplexity, so that a bar's length is
 * what the method costs. Logarithmic. `width` in pixels; below 560 names stand above their lanes.
 */
export function comparisonPlot(report: ComparisonReport, width = 820): Plot {
  const { methods, ratios } = groupByMethod(report);
  const base = report.base.perplexity.value;
  const beside = width >= 560;
  const values = report.rows
    .flatMap(({ perplexity: { value, standardError = 0 }, reference }) => [
      value - standardError,
      value,
      value + standardError,
      reference?.perplexity,
    ])
    .filter(drawable);
  const domain = [Math.min(base, ...values) * 0.97, Math.max(base * 1.1, ...values) * 1.01];
  const plotLeft = beside ? 306 : 44;
  const x = scaleLog(domain, [plotLeft, width - 62]);
  const blocks = placeBlocks(methods, ratios.length, beside);
  const last = blocks.at(-1)!;
  const bottom = last.y + last.height + gap / 2;
  const shapes = drawAxis(x, base, bottom, width);
  blocks.forEach((block, index) => {
    if (index > 0) shapes.push(rule(0, block.y - gap / 2, width, block.y - gap / 2, 'grid'));
    shapes.push(...drawName(block, beside, width));
    ratios.forEach((ratio, series) => {
      const row = block.method.byRatio.get(ratio);
      if (!row) return;
      const y = block.lanes + (series + 0.5) * laneHeight;
      const className = `small strong ${seriesClass(series, 'f')}`;
      shapes.push(label(formatRatio(ratio), plotLeft - 14, y + 4, { anchor: 'end', className }));
      shapes.push(...drawRow(row, series, y, x, base));
    });
  });
  return {
    width,
    height: bottom + 50,
    title: `Perplexity by method and share of the KV cache kept, ${report.model.name}`,
    description: describe(methods, ratios, base),
    shapes,
  };
}

/** Perplexity by method and ratio as an SVG file. Throws 'invalid-argument' without rows. */
export function comparisonSvg(report: ComparisonReport): string {
  return svgDocument(comparisonPlot(report));
}
