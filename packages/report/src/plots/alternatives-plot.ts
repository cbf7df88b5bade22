import { scaleLog, scaleSymlog } from 'd3-scale';
import type { Alternative, Alternatives } from '../documents/compression-report.ts';
import { formatPercent, formatRatioMeasurement } from '../format/format.ts';
import type { Markup } from '../markup.ts';
import { nameOfAlternative } from '../tables/alternatives-table.ts';
import { type Box, boxAround, placeLabel } from './place-label.ts';
import { label, logarithmicTicks, marker, type Plot, rule, seriesClass } from './plot.ts';

const [left, right, top, height] = [58, 22, 40, 250];

/** One shape and colour for each row of heads. */
const heads: Alternative['heads'][] = ['result', 'closed form', 'refit', 'original'];

/** Changes that may have a line, as shares. */
const levels = [
  -0.1, -0.05, -0.02, -0.01, -0.005, -0.002, 0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100,
];

/**
 * Change of perplexity against the share of the original's bytes, both logarithmic, the change linear near zero. Upright lines are one
 * standard error to either side.
 */
export function alternativesPlot({ points }: Alternatives, width = 760): Plot {
  const base = points[0]!.bytesPerToken;
  const shares = points.map(({ bytesPerToken }) => bytesPerToken / base);
  const x = scaleLog([Math.min(...shares) * 0.85, Math.max(...shares) * 1.15], [left, width - right]);
  const bounds = points.flatMap(({ perplexityRatio: { value, standardError = 0 } }) => [
    value - 1 - standardError,
    value - 1 + standardError,
  ]);
  const y = scaleSymlog([Math.min(0, ...bounds), Math.max(0.01, ...bounds)], [top + height, top])
    .constant(0.005)
    .clamp(true);
  const shapes: Markup[] = [label('change of perplexity', left - 46, top - 16, { className: 'muted' })];
  for (const tick of logarithmicTicks(...(x.domain() as [number, number]), width < 500 ? 5 : 10)) {
    shapes.push(
      rule(x(tick), top, x(tick), top + height, 'grid'),
      label(formatPercent(tick, 0), x(tick), top + height + 18, { anchor: 'middle', className: 'muted' }),
    );
  }
  let lowest = Number.POSITIVE_INFINITY;
  for (const level of levels) {
    const [place, isZero] = [y(level), level === 0];
    const inside = level >= y.domain()[0]! && level <= y.domain()[1]!;
    if (!inside || (!isZero && (lowest - place < 18 || Math.abs(place - y(0)) < 18))) continue;
    lowest = place;
    shapes.push(
      rule(left, place, width - right, place, isZero ? 'axis' : 'grid'),
      label(`${level > 0 ? '+' : ''}${formatPercent(level)}`, left - 8, place + 4, {
        anchor: 'end',
        className: 'muted',
      }),
    );
  }
  const placed = points.map((point, index) => {
    const { value } = point.perplexityRatio;
    return { point, at: [x(shares[index]!), y(value - 1)] as [number, number], series: heads.indexOf(point.heads) };
  });
  for (const { point, at, series } of placed) {
    const { value, standardError = 0 } = point.perplexityRatio;
    const [low, high] = [y(value - 1 - standardError), y(value - 1 + standardError)];
    shapes.push(
      rule(at[0], low, at[0], high, `thin ${seriesClass(series, 's')}`),
      marker(series, ...at, describe(point, base)),
    );
  }
  const taken: Box[] = placed.map(({ at }) => boxAround(...at));
  for (const { point, at, series } of placed) {
    const name = nameOfAlternative(point);
    const { x: labelX, y: labelY, anchor } = placeLabel(name, at, taken, { left, right: width, bottom: top + height });
    shapes.push(label(name, labelX, labelY, { anchor, className: `halo small ${seriesClass(series, 'f')}` }));
  }
  shapes.push(
    label("share of the original's bytes", width - right, top + height + 38, { anchor: 'end', className: 'muted' }),
  );
  return {
    width,
    height: top + height + 46,
    title: 'Quality against bytes',
    description: `Change of perplexity and bytes of the KV cache. ${points.map((point) => describe(point, base)).join('; ')}.`,
    shapes,
  };
}

function describe(point: Alternative, base: number): string {
  const share = formatPercent(point.bytesPerToken / base, 0);
  return `${nameOfAlternative(point)}: ${formatRatioMeasurement(point.perplexityRatio)} at ${share} of the bytes`;
}
