import type { BenchmarkReport } from '../documents/benchmark-report.ts';
import { stripControlCharacters } from '../format/strip-control-characters.ts';
import { benchmarkTables } from '../tables/benchmark-tables.ts';
import { environmentTable } from '../tables/environment-table.ts';
import { terminalNotes } from './terminal-notes.ts';
import { plainStyles, type TerminalStyles } from './terminal-styles.ts';
import { terminalTable } from './terminal-table.ts';

/** The tables of a benchmark for a terminal, with what they were measured on. */
export function benchmarkTerminal(report: BenchmarkReport, styles: TerminalStyles = plainStyles): string {
  const tables = [...benchmarkTables(report), environmentTable(report.environment)];
  return [
    styles.strong(stripControlCharacters(report.title)),
    '',
    ...tables.flatMap((table) => [
      styles.strong(stripControlCharacters(table.caption)),
      '',
      terminalTable(table, styles),
      '',
    ]),
    ...terminalNotes(report.notes, styles),
  ].join('\n');
}
