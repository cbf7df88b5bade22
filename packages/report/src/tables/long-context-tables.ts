import type { Measurement } from '@kvlr/core';
import type { LongContextReport, LongContextRow } from '../documents/long-context-report.ts';
import { formatCount, formatMeasurement, formatRatioMeasurement } from '../format/format.ts';
import { bytesCell, left, type ReportTable, right } from './report-table.ts';

/**
 * Perplexity by position, copying and needles by length and depth, and what changes against the first row: one table each, one row a
 * model with its cache.
 */
export function longContextTables({ rows }: LongContextReport): ReportTable[] {
  const [first] = rows;
  if (first === undefined) return [];
  const cells = first.cells.map(({ length, depth }) => `${formatCount(length)} at ${formatDepth(depth)}`);
  const positions = first.positions.map(({ from, to }) => `${formatCount(from)} to ${formatCount(to - 1)}`);
  const changed = rows.filter(({ change }) => change !== undefined);
  const table = (
    caption: string,
    titles: string[],
    values: (row: LongContextRow) => string[],
    shown = rows,
  ): ReportTable => ({
    caption,
    columns: [left('Model and cache'), right('Cache'), ...titles.map(right)],
    rows: shown.map((row) => [row.name, bytesCell(row.cacheBytes), ...values(row)]),
  });
  const changes = (caption: string, titles: string[], values: (row: LongContextRow) => string[]) =>
    changed.length === 0 ? [] : [table(`${caption} against ${first.name}, paired`, titles, values, changed)];
  return [
    table('Perplexity by position in the text', positions, (row) =>
      row.positions.map(({ perplexity }) => formatMeasurement(perplexity)),
    ),
    ...changes('Change of that perplexity', positions, ({ change }) =>
      change!.perplexities.map((ratio) => formatRatioMeasurement(ratio)),
    ),
    table(
      'Copying: what having seen a passage adds to its log-likelihood, nats a token, by length and depth',
      cells,
      (row) => row.cells.map(({ copyGain }) => formatGain(copyGain)),
    ),
    ...changes('Change of that gain', cells, ({ change }) => change!.copyGains.map(formatGain)),
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
