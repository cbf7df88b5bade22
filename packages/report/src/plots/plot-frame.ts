import { element, type Markup, styleElement } from '../markup/element.ts';
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
