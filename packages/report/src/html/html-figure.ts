import { type Child, element, type Markup } from '../markup/element.ts';
import { inlineSvg, type Plot } from '../plots/plot-frame.ts';
import { dashes, seriesClass } from '../plots/shapes.ts';

/** A figure drawn twice, for wide and for narrow screens, so that its text keeps its size; CSS shows one of the two. */
export function htmlFigure(id: string, draw: (width: number) => Plot, caption: Child): Markup {
  return element(
    'figure',
    {},
    inlineSvg(draw(820), `${id}-wide`, 'wide'),
    inlineSvg(draw(350), `${id}-narrow`, 'narrow'),
    element('figcaption', {}, caption),
  );
}

/** Small plots of one kind side by side, with a key of their lines above. */
export function htmlPanels(id: string, plots: readonly Plot[], lines: readonly string[], caption: Child): Markup {
  const key = lines.map((title, series) =>
    element(
      'li',
      { class: `k-${series % 4}` },
      element(
        'svg',
        { class: 'plot', viewBox: '0 0 34 10', 'aria-hidden': 'true' },
        element('path', {
          d: 'M1 5H33',
          class: `line ${seriesClass(series, 's')}`,
          'stroke-dasharray': dashes[series % dashes.length],
        }),
      ),
      title,
    ),
  );
  return element(
    'figure',
    {},
    element('ul', { class: 'key' }, key),
    element(
      'div',
      { class: 'panels' },
      plots.map((plot, index) => inlineSvg(plot, `${id}-${index}`)),
    ),
    element('figcaption', {}, caption),
  );
}
