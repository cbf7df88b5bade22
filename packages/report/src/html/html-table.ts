import { element, type Markup } from '../markup/element.ts';
import type { ExactCell, ReportTable } from '../tables/report-table.ts';

function content(cell: string | ExactCell): Markup | string {
  return typeof cell === 'string' ? cell : element('span', { title: cell.exact }, cell.text);
}

/**
 * A table with caption and header cells; on narrow screens it scrolls by itself. `baseRow` stresses the first row.
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
          : element('td', { class: className(index) }, content(cell)),
      ),
    ),
  );
  return element(
    'div',
    { class: 'scroll', role: 'region', 'aria-label': table.caption, tabindex: 0 },
    element(
      'table',
      {},
      element('caption', {}, table.caption),
      element('thead', {}, element('tr', {}, head)),
      element('tbody', {}, rows),
    ),
  );
}
