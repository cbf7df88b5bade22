import { symbol, symbolCircle, symbolDiamond, symbolSquare, symbolTriangle } from 'd3-shape';
import { element, type Markup } from '../markup/element.ts';

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
