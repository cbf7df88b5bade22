import type { EvaluationResult } from '@kvlr/core';
import { describeCacheElement, describeEvaluation } from '../format/describe-evaluation.ts';
import { formatMeasurement, formatRatioMeasurement, formatShareMeasurement } from '../format/format-measurement.ts';
import { bytesCell } from '../tables/bytes-cell.ts';
import { left, type ReportTable, right } from '../tables/report-table.ts';
import { terminalNotes } from './terminal-notes.ts';
import { plainStyles, type TerminalStyles } from './terminal-styles.ts';
import { terminalTable } from './terminal-table.ts';

/** One evaluated model by source of text, and beside its base where it was measured against one. */
export function evaluationTerminal(evaluation: EvaluationResult, styles: TerminalStyles = plainStyles): string {
  const against = evaluation.againstBase;
  const bySource: ReportTable = {
    caption: 'Perplexity by source of text',
    columns: [left('Source'), right('Perplexity')],
    rows: [
      ...Object.entries(evaluation.perplexityBySource).map(([source, value]) => [source, formatMeasurement(value)]),
      ['all', formatMeasurement(evaluation.perplexity)],
    ],
  };
  const rows: ReportTable['rows'] = [['KV cache per token', bytesCell(evaluation.cache.bytesPerToken)]];
  if (against) {
    rows.unshift(
      ['Perplexity of the base', formatMeasurement(against.basePerplexity)],
      ['Change', formatRatioMeasurement(against.perplexityRatio)],
      ['KL to base, nats per token', formatMeasurement(against.klDivergence)],
      ['Same top token as base', formatShareMeasurement(against.topOneAgreement)],
    );
  }
  const summary: ReportTable = { caption: 'Summary', columns: [left('Measure'), right('Value')], rows };
  return [
    terminalTable(bySource, styles),
    '',
    terminalTable(summary, styles),
    '',
    ...terminalNotes([describeEvaluation(evaluation), describeCacheElement(evaluation.cache.bytesPerElement)], styles),
  ].join('\n');
}
