import type { Measurement } from '@kvlr/core';
import type { LongContextReport, LongContextRow } from '../documents/long-context-report.ts';
import { formatCount, formatMeasurement } from '../format/format.ts';
import { bytesCell, left, type ReportTable, right } from './report-table.ts';

/** Perplexity by position, copying and needles by length and depth: one table each, one row a model with its cache. */
export function longContextTables({ rows }: LongContextReport): ReportTable[] {
  const [first] = rows;
  if (first === undefined) return [];
  const cells = first.cells.map(({ length, depth }) => `${formatCount(length)} at ${formatDepth(depth)}`);
  const positions = first.positions.map(({ from, to }) => `${formatCount(from)} to ${formatCount(to - 1)}`);
  const table = (caption: string, titles: string[], values: (row: LongContextRow) => string[]): ReportTable => ({
    caption,
    columns: [left('Model and cache'), right('Cache'), ...titles.map(right)],
    rows: rows.map((row) => [row.name, bytesCell(row.cacheBytes), ...values(row)]),
  });
  return [
    table('Perplexity by position in the text', positions, (row) =>
      row.positions.map(({ perplexity }) => formatMeasurement(perplexity)),
    ),
    table(
      'Copying: what having seen a passage adds to its log-likelihood, nats a token, by length and depth',
      cells,
      (row) => row.cells.map(({ copyGain }) => formatGain(copyGain)),
    ),
    table('Needle: share of names that are found among four, by length and depth', cells, (row) =>
      row.cells.map(({ needle }) => `${Math.round(100 * needle.value)}%`),
    ),
  ];
}

function formatDepth(depth: number): string {
  return `${Math.round(100 * depth)}%`;
}

function formatGain({ value, standardError }: Measurement): string {
  const text = `${value < 0 ? '\u2212' : '+'}${Math.abs(value).toFixed(2)}`;
  return standardError === undefined ? text : `${text} ± ${standardError.toFixed(2)}`;
}
