import type { EvaluationResult } from '@kvlr/core';
import { formatMeasurement, formatRatioMeasurement } from '../format/format-measurement.ts';
import { formatCount } from '../format/format-number.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** Perplexity of base and result per source of text and over all. */
export function qualityTable(base: EvaluationResult, result: EvaluationResult): ReportTable {
  const rows: ReportTable['rows'] = [];
  for (const [source, measured] of Object.entries(result.perplexityBySource)) {
    const before = base.perplexityBySource[source];
    if (!before) continue;
    rows.push([
      source,
      formatMeasurement(before),
      formatMeasurement(measured),
      formatRatioMeasurement({ value: measured.value / before.value }),
      measured.tokenCount === undefined ? '' : formatCount(measured.tokenCount),
    ]);
  }
  const overall = result.againstBase?.perplexityRatio ?? { value: result.perplexity.value / base.perplexity.value };
  rows.push([
    'all',
    formatMeasurement(base.perplexity),
    formatMeasurement(result.perplexity),
    formatRatioMeasurement(overall),
    formatCount(result.tokenCount),
  ]);
  return {
    caption: 'Perplexity by source of text',
    columns: [left('Source'), right('Base'), right('Result'), right('Change'), right('Tokens')],
    rows,
  };
}
