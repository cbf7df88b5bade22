import type { CompressionReport } from '../documents/compression-report.ts';
import { describeLayout } from '../format/describe-layout.ts';
import { formatMeasurement, formatRatioMeasurement, formatShareMeasurement } from '../format/format-measurement.ts';
import { formatChange, formatCount } from '../format/format-number.ts';
import { bytesCell } from './bytes-cell.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** What the compression cost and what it saves, each figure beside the base's. */
export function headlineTable(report: CompressionReport): ReportTable {
  const { base, result } = report;
  const against = result.againstBase;
  const ratio = against?.perplexityRatio ?? { value: result.perplexity.value / base.perplexity.value };
  const saved = formatChange(result.cache.bytesPerToken / base.cache.bytesPerToken - 1);
  const rows: ReportTable['rows'] = [
    [
      'Perplexity',
      formatMeasurement(base.perplexity),
      formatMeasurement(result.perplexity),
      formatRatioMeasurement(ratio),
    ],
  ];
  if (against) {
    rows.push(
      ['KL to base, nats per token', '0', formatMeasurement(against.klDivergence), ''],
      ['Same top token as base', '100%', formatShareMeasurement(against.topOneAgreement), ''],
    );
  }
  rows.push(
    ['KV heads per layer', describeLayout(report.model.shape), describeLayout(report.resultShape), ''],
    ['KV cache per token', bytesCell(base.cache.bytesPerToken), bytesCell(result.cache.bytesPerToken), saved],
  );
  const longest = Math.max(...report.contexts);
  if (report.contexts.length > 0) {
    const [baseCell, resultCell] = [base, result].map(({ cache }) => bytesCell(cache.bytesPerToken * longest));
    rows.push([`KV cache at ${formatCount(longest)} tokens`, baseCell!, resultCell!, saved]);
  }
  return {
    caption: 'What it cost and what it saves',
    columns: [left(''), right('Base'), right('Result'), right('Change')],
    rows,
  };
}
