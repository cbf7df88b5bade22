import { scaleLog, scaleSymlog } from 'd3-scale';
import { type FrontierPoint, type FrontierReport, paretoFront, shareOf } from '../documents/frontier-report.ts';
import { formatPercent, formatRatioMeasurement } from '../format/format.ts';
import { element, type Markup } from '../markup.ts';
import { type Box, boxAround, placeLabel } from './place-label.ts';
import { dashes, label, logarithmicTicks, marker, type Plot, rule, seriesClass, svgDocument } from './plot.ts';

const [left, right, top, height] = [58, 150, 40, 430];

/** Change of perplexity that is drawn at most: what costs more is of no use, and would squeeze the rest. */
const most = 0.3;

interface Place {
  point: FrontierPoint;
  share: number;
  change: number;
}

/**
 * Change of perplexity against the share of the base's bytes, both logarithmic (the change linear near zero), one marker shape for each row
 * of heads, and the front drawn through the points that no other beats; another, broken one, through those that no other beats in engines
 * beside kvlr, whose points have a ring. At the first of the report's contexts.
 */
function frontierPlot(report: FrontierReport, width = 860): Plot {
  const { points } = report;
  const heads = [...new Set(points.map(({ headsTitle }) => headsTitle))];
  const places = points
    .map((point): Place => ({ point, share: shareOf(report, point), change: point.perplexityRatio.value - 1 }))
    .filter(({ change }) => change <= most);
  const shares = places.map(({ share }) => share);
  const x = scaleLog([Math.min(...shares) * 0.9, Math.max(1, ...shares) * 1.05], [left, width - right]);
  const changes = places.map(({ change }) => change);
  const y = scaleSymlog([Math.min(0, ...changes), Math.max(0.01, ...changes)], [top + height, top]).constant(0.002);
  const at = ({ share, change }: Place): [number, number] => [x(share), y(change)];
  const frontOf = (of: readonly FrontierPoint[]) =>
    paretoFront(of, 0).flatMap((point) => places.filter((place) => place.point === point));
  const front = frontOf(points);
  const stockFront = frontOf(points.filter(isStock));
  const shapes: Markup[] = [];
  for (const tick of logarithmicTicks(...(x.domain() as [number, number]), 8)) {
    shapes.push(
      rule(x(tick), top, x(tick), top + height, 'grid'),
      label(formatPercent(tick, tick < 0.1 ? 1 : 0), x(tick), top + height + 18, {
        anchor: 'middle',
        className: 'muted',
      }),
    );
  }
  for (const tick of [0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]) {
    if (y(tick) < top - 1) continue;
    shapes.push(
      rule(left, y(tick), width - right, y(tick), tick === 0 ? 'axis' : 'grid'),
      label(`+${formatPercent(tick)}`, left - 8, y(tick) + 4, { anchor: 'end', className: 'muted' }),
    );
  }
  const line = (through: readonly Place[], dash: string | undefined) => {
    const path = through.map((place, index) => `${index === 0 ? 'M' : 'L'}${at(place).map(rounded).join(' ')}`);
    const style = { d: path.join(''), class: `line ${seriesClass('base', 's')}`, 'stroke-dasharray': dash };
    if (path.length > 1) shapes.push(element('path', style));
  };
  line(front, undefined);
  line(stockFront, dashes[2]);
  for (const place of places) {
    const { point } = place;
    const title = `${point.headsTitle}, ${point.cache}: ${formatRatioMeasurement(point.perplexityRatio, 2)} at ${formatPercent(place.share)}`;
    const [placeX, placeY] = at(place);
    if (isStock(point)) shapes.push(ring(placeX, placeY));
    shapes.push(marker(heads.indexOf(point.headsTitle), placeX, placeY, title));
  }
  // The name of the axis stands there already.
  const taken: Box[] = [
    { x: 0, y: top - 28, width: 140, height: 16 },
    ...places.map((place) => boxAround(...at(place))),
  ];
  for (const place of new Set([...front, ...stockFront])) {
    const { point } = place;
    const {
      x: labelX,
      y: labelY,
      anchor,
    } = placeLabel(point.cache, at(place), taken, { left, right: width, bottom: top + height });
    const className = `halo small ${seriesClass(heads.indexOf(point.headsTitle), 'f')}`;
    shapes.push(label(point.cache, labelX, labelY, { anchor, className }));
  }
  heads.forEach((name, series) => {
    const row = top + 10 + 20 * series;
    shapes.push(marker(series, width - right + 20, row, name), label(name, width - right + 32, row + 4));
  });
  const legend = top + 20 + 20 * heads.length;
  shapes.push(
    ring(width - right + 20, legend),
    label('other engines too', width - right + 32, legend + 4, { className: 'small' }),
    label('change of perplexity', left - 46, top - 16, { className: 'muted' }),
    label("share of the base's bytes at two bytes a number", width - right, top + height + 38, {
      anchor: 'end',
      className: 'muted',
    }),
  );
  const listed = front.map(({ point, share }) => {
    return `${point.headsTitle}, ${point.cache}: ${formatRatioMeasurement(point.perplexityRatio, 2)} at ${formatPercent(share)}`;
  });
  return {
    width,
    height: top + height + 46,
    title: `Perplexity at equal bytes, ${report.model.name}`,
    description: `Change of perplexity against bytes of the KV cache. What nothing beats: ${listed.join('; ')}.`,
    shapes,
  };
}

const isStock = ({ engines }: FrontierPoint): boolean => engines.some((engine) => engine !== 'kvlr');

const rounded = (value: number): string => value.toFixed(1);

function ring(x: number, y: number): Markup {
  return element('circle', { cx: rounded(x), cy: rounded(y), r: 8.5, class: `ring ${seriesClass('base', 's')}` });
}

/** The same as an SVG file. */
export function frontierSvg(report: FrontierReport): string {
  return svgDocument(frontierPlot(report));
}
