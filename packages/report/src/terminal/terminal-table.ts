import Table from 'cli-table3';
import { stripControlCharacters } from '../format/strip-control-characters.ts';
import { cellText, type ReportTable } from '../tables/report-table.ts';
import { plainStyles, type TerminalStyles } from './terminal-styles.ts';

/** Rules above the head, below it and at the end; no boxes. */
const rules = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** A table for a terminal: aligned columns, a rule under the head. Cells cannot carry control sequences. */
export function terminalTable(table: ReportTable, styles: TerminalStyles = plainStyles): string {
  const text = (cell: ReportTable['rows'][number][number]) => stripControlCharacters(cellText(cell));
  const widths = table.columns.map((column, index) =>
    Math.max(column.title.length, ...table.rows.map((row) => text(row[index] ?? '').length)),
  );
  const drawn = new Table({
    chars: rules,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true },
    colAligns: table.columns.map((column) => column.align),
  });
  drawn.push(table.columns.map((column) => styles.strong(stripControlCharacters(column.title))));
  drawn.push(widths.map((width) => styles.faint('─'.repeat(width))));
  for (const row of table.rows) drawn.push(row.map(text));
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}
