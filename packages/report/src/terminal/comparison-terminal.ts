import type { ComparisonReport } from '../documents/comparison-report.ts';
import { describeCacheElement, describeEvaluation } from '../format/describe-evaluation.ts';
import { listReferences } from '../format/list-references.ts';
import { stripControlCharacters } from '../format/strip-control-characters.ts';
import { comparisonDetailTable, comparisonTable } from '../tables/comparison-tables.ts';
import { groupByMethod } from '../tables/group-by-method.ts';
import { orderNote, orderTable } from '../tables/order-table.ts';
import type { ReportTable } from '../tables/report-table.ts';
import { terminalNotes } from './terminal-notes.ts';
import { plainStyles, type TerminalStyles } from './terminal-styles.ts';
import { terminalTable } from './terminal-table.ts';

/**
 * Perplexity of every method at every ratio. `details` adds, per ratio, the order of the methods, KL, agreement, cache,
 * parameters, time and reference figures (about 130 columns wide). Throws 'invalid-argument' without rows.
 */
export function comparisonTerminal(
  report: ComparisonReport,
  settings: { details?: boolean; styles?: TerminalStyles } = {},
): string {
  const styles = settings.styles ?? plainStyles;
  const { ratios } = groupByMethod(report);
  const section = (table: ReportTable) => [styles.strong(table.caption), '', terminalTable(table, styles), ''];
  const orders = settings.details ? (report.orders ?? []) : [];
  const references = settings.details ? listReferences(report) : undefined;
  const notes = [
    describeEvaluation(report.base),
    ...(settings.details ? [describeCacheElement(report.base.cache.bytesPerElement)] : []),
    ...(orders.length > 0 ? [orderNote] : []),
    ...(references ? [references] : []),
    ...(report.notes ?? []),
  ];
  return [
    styles.strong(stripControlCharacters(report.title)),
    '',
    ...section(comparisonTable(report)),
    ...orders.flatMap((order) => section(orderTable(report, order))),
    ...(settings.details ? ratios.flatMap((ratio) => section(comparisonDetailTable(report, ratio))) : []),
    ...terminalNotes(notes, styles),
  ].join('\n');
}
