import { type Child, element, type Markup, styleElement } from '../markup.ts';
import { dashes, inlineSvg, type Plot, seriesClass } from '../plots/plot.ts';
import { plotStyle } from '../plots/plot-style.ts';
import { cellText, type ExactCell, type ReportTable } from '../tables/report-table.ts';
import { pageStyle } from './page-style.ts';

/** One self-contained page: no scripts, nothing loaded from elsewhere, well-formed as XML too. */
export function htmlPage(page: { title: string; description: string; lead: Child; body: Child }): string {
  const document = element(
    'html',
    { lang: 'en' },
    element(
      'head',
      {},
      element('meta', { charset: 'utf-8' }),
      element('meta', { name: 'viewport', content: 'width=device-width, initial-scale=1' }),
      element('meta', { name: 'color-scheme', content: 'light dark' }),
      element('meta', { name: 'description', content: page.description }),
      element('title', {}, page.title),
      styleElement(pageStyle() + plotStyle()),
    ),
    element(
      'body',
      {},
      element('header', {}, element('h1', {}, page.title), page.lead),
      element('main', {}, page.body),
      element(
        'footer',
        {},
        element('p', {}, 'Made by kvlr. Hover over or inspect a rounded size for its exact bytes.'),
      ),
    ),
  );
  return `<!DOCTYPE html>\n${document.source}\n`;
}

/** A section with its heading. */
export function htmlSection(heading: string, ...children: Child[]): Child {
  return element('section', {}, element('h2', {}, heading), children);
}

/** Sentences that a reader has to know, set apart. */
export function htmlNotes(notes: readonly string[] | undefined): Child {
  return (notes ?? []).map((note) => element('p', { class: 'note' }, note));
}

function content(cell: string | ExactCell): Markup | string {
  return typeof cell === 'string' ? cell : element('span', { title: cell.exact }, cell.text);
}

/**
 * A table with caption and header cells; on narrow screens rows of many cells become lists. `baseRow` stresses the first row.
 */
export function htmlTable(table: ReportTable, settings: { baseRow?: boolean } = {}): Markup {
  const className = (column: number) => (table.columns[column]?.align === 'right' ? 'right' : undefined);
  const head = table.columns.map((column, index) =>
    element('th', { scope: 'col', class: className(index) }, column.title),
  );
  const rows = table.rows.map((row, rowIndex) =>
    element(
      'tr',
      { class: settings.baseRow && rowIndex === 0 ? 'base-row' : undefined },
      row.map((cell, index) =>
        index === 0
          ? element('th', { scope: 'row' }, content(cell))
          : element('td', { class: className(index), 'data-column': table.columns[index]?.title }, content(cell)),
      ),
    ),
  );
  return element(
    'div',
    { class: 'scroll', role: 'region', 'aria-label': table.caption, tabindex: 0 },
    element(
      'table',
      { class: table.columns.length > 3 ? 'many' : undefined },
      element('caption', {}, table.caption),
      element('thead', {}, element('tr', {}, head)),
      element('tbody', {}, rows),
    ),
  );
}

/** The headline table as tiles: the result large, the base beside it. Rows are name, base, result, change. */
export function htmlTiles(table: ReportTable): Markup {
  const exact = (cell: string | ExactCell) => (typeof cell === 'string' ? undefined : cell.exact);
  const tiles = table.rows.map(([name = '', base = '', result = '', change = '']) =>
    element(
      'div',
      { class: 'tile' },
      element('dt', {}, cellText(name)),
      element('dd', { class: 'result', title: exact(result) }, cellText(result)),
      element(
        'dd',
        { class: 'base', title: exact(base) },
        `base ${cellText(base)}`,
        cellText(change) === '' ? undefined : element('span', { class: 'change' }, cellText(change)),
      ),
    ),
  );
  return element('dl', { class: 'tiles' }, tiles);
}

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
    key.length > 0 ? element('ul', { class: 'key' }, key) : undefined,
    element(
      'div',
      { class: 'panels' },
      plots.map((plot, index) => inlineSvg(plot, `${id}-${index}`)),
    ),
    element('figcaption', {}, caption),
  );
}
