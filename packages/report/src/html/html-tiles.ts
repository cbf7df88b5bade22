import { element, type Markup } from '../markup/element.ts';
import { cellText, type ExactCell, type ReportTable } from '../tables/report-table.ts';

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
