import { symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle } from 'd3-shape';
import { element, type Markup, styleElement } from '../markup.ts';
import { plotStyle } from './plot-style.ts';

/** A drawn plot: its shapes and what it says to those who cannot see it. */
export interface Plot {
  width: number;
  height: number;
  /** Name for screen readers and tooltips of the picture. */
  title: string;
  /** What the picture shows, with its figures. */
  description: string;
  shapes: Markup[];
}

/** The plot as an SVG element for a page. `id` must be unique on the page; colours come from the page's `plotStyle`. */
export function inlineSvg(plot: Plot, id: string, className = ''): Markup {
  return element(
    'svg',
    {
      class: `plot ${className}`.trim(),
      viewBox: `0 0 ${plot.width} ${plot.height}`,
      role: 'img',
      'aria-labelledby': `${id}-title ${id}-description`,
    },
    element('title', { id: `${id}-title` }, plot.title),
    element('desc', { id: `${id}-description` }, plot.description),
    plot.shapes,
  );
}

/** Space around a plot that stands alone, pixels. */
const margin = 16;

/** The plot as a file of its own: SVG text with its style and a background, in light and dark. */
export function svgDocument(plot: Plot): string {
  const [width, height] = [plot.width + 2 * margin, plot.height + 2 * margin];
  const picture = element(
    'svg',
    {
      xmlns: 'http://www.w3.org/2000/svg',
      class: 'plot',
      viewBox: `${-margin} ${-margin} ${width} ${height}`,
      width,
      height,
      role: 'img',
      'aria-labelledby': 'title description',
    },
    element('title', { id: 'title' }, plot.title),
    element('desc', { id: 'description' }, plot.description),
    styleElement(plotStyle()),
    element('rect', { class: 'surface', x: -margin, y: -margin, width, height }),
    plot.shapes,
  );
  return `${picture.source}\n`;
}

/** Classes that colour a series: `s-` strokes, `f-` fills. The base has its own; series repeat after four. */
export function seriesClass(series: number | 'base', part: 's' | 'f'): string {
  return `${part}-${series === 'base' ? series : series % 4}`;
}

/** Dash patterns tell series apart without colour. */
export const dashes = [undefined, '7 4', '2 4', '9 3 2 3'];

const symbols = [symbolCircle, symbolDiamond, symbolTriangle, symbolSquare];

/** The marker of a series: circle, diamond, triangle, square. */
export function marker(series: number, x: number, y: number, title: string): Markup {
  const path = symbol(symbols[series % symbols.length], 76)()!.replace(/\d+\.\d{3,}/g, (digits) =>
    Number(digits).toFixed(2),
  );
  return element(
    'path',
    { d: path, transform: `translate(${x.toFixed(2)} ${y.toFixed(2)})`, class: seriesClass(series, 'f') },
    element('title', {}, title),
  );
}

/** Text at a point. `anchor` says which part of it stands there. */
export function label(
  content: string,
  x: number,
  y: number,
  settings: { anchor?: 'start' | 'middle' | 'end'; className?: string } = {},
): Markup {
  return element('text', { x, y, 'text-anchor': settings.anchor, class: settings.className }, content);
}

/** A straight line with a class of `plotStyle`. */
export function rule(x1: number, y1: number, x2: number, y2: number, className: string): Markup {
  return element('line', { x1, y1, x2, y2, class: className });
}

const mantissas = [
  [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9],
  [1, 1.5, 2, 3, 4, 5, 7],
  [1, 2, 5],
  [1],
];

/** Round values inside [low, high] for a logarithmic axis, the densest set that has at most `maxCount` members. */
export function logarithmicTicks(low: number, high: number, maxCount: number): number[] {
  const firstDecade = Math.floor(Math.log10(low));
  const lastDecade = Math.ceil(Math.log10(high));
  for (const set of mantissas) {
    const ticks: number[] = [];
    for (let decade = firstDecade; decade <= lastDecade; decade++) {
      for (const mantissa of set) {
        const tick = Number((mantissa * 10 ** decade).toPrecision(6));
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    if (ticks.length <= maxCount) return ticks;
  }
  const every = Math.ceil((lastDecade - firstDecade + 1) / maxCount);
  const decades: number[] = [];
  for (let decade = lastDecade; decade >= firstDecade; decade -= every) {
    const tick = Number(`1e${decade}`);
    if (tick >= low && tick <= high) decades.unshift(tick);
  }
  return decades;
}

/**
 * Multiples of a power of two from 0 to at most `highest`, for bytes and context lengths: more than `maxSteps / 2` and at
 * most `maxSteps` of them beside 0 where `highest` allows.
 */
export function binaryTicks(highest: number, maxSteps: number): number[] {
  const step = 2 ** Math.max(0, Math.ceil(Math.log2(highest / maxSteps)));
  const count = Math.floor(highest / step);
  return Array.from({ length: count + 1 }, (_, index) => index * step);
}

/**
 * Moves label positions apart until neighbours are `gap` apart and all lie within [lowest, highest], keeping their order
 * and moving them as little as one downward and one upward pass allow. Positions come in ascending order.
 */
export function spreadLabels(positions: readonly number[], gap: number, lowest: number, highest: number): number[] {
  const spread = [...positions];
  for (let index = 0; index < spread.length; index++) {
    spread[index] = Math.max(spread[index]!, index === 0 ? lowest : spread[index - 1]! + gap);
  }
  for (let index = spread.length - 1; index >= 0; index--) {
    spread[index] = Math.min(spread[index]!, index === spread.length - 1 ? highest : spread[index + 1]! - gap);
  }
  return spread;
}
