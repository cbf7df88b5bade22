import type { ComparisonReport } from '../documents/comparison-report.ts';
import type { CompressionReport, RunEnvironment } from '../documents/compression-report.ts';
import { formatBytes, formatCount, formatExactBytes, formatRatio } from '../format/format.ts';

/** A cell with, where the text is rounded, the exact figure: HTML shows it on hover. */
export interface ExactCell {
  text: string;
  exact: string;
}

interface Column {
  title: string;
  align: 'left' | 'right';
}

/** A table before it is drawn; the first cell of a row names the row. Cells are plain text, escaped when drawn. */
export interface ReportTable {
  caption: string;
  columns: Column[];
  rows: (string | ExactCell)[][];
}

export function cellText(cell: string | ExactCell): string {
  return typeof cell === 'string' ? cell : cell.text;
}

/** A column of names. */
export function left(title: string): Column {
  return { title, align: 'left' };
}

/** A column of figures. */
export function right(title: string): Column {
  return { title, align: 'right' };
}

/** Bytes in binary units, the exact count behind them. */
export function bytesCell(bytes: number): ExactCell {
  return { text: formatBytes(bytes), exact: formatExactBytes(bytes) };
}

/** What the figures were made on. */
export function environmentTable(environment: RunEnvironment): ReportTable {
  const rows: ReportTable['rows'] = [['Backend', environment.backend]];
  if (environment.machine) rows.push(['Machine', environment.machine]);
  if (environment.peakMemoryBytes !== undefined) rows.push(['Peak memory', bytesCell(environment.peakMemoryBytes)]);
  for (const [name, version] of Object.entries(environment.versions ?? {})) rows.push([name, version]);
  if (environment.date) rows.push(['Date', environment.date]);
  return { caption: 'Environment', columns: [left('What'), left('Value')], rows };
}

/** One model whose cache grows with the context. */
export interface CacheSeries {
  title: string;
  bytesPerToken: number;
}

/** Size of the KV cache by context length, one column per model. */
export function cacheTable(series: readonly CacheSeries[], contexts: readonly number[]): ReportTable {
  const row = (title: string, tokens: number) => [title, ...series.map((one) => bytesCell(one.bytesPerToken * tokens))];
  const sorted = [...new Set(contexts)].filter((tokens) => tokens > 1).sort((a, b) => a - b);
  return {
    caption: 'KV cache by context length',
    columns: [left('Context, tokens'), ...series.map((one) => right(one.title))],
    rows: [row('1', 1), ...sorted.map((tokens) => row(formatCount(tokens), tokens))],
  };
}

/** The base and the result of a compression. */
export function compressionCacheSeries({ base, result }: CompressionReport): CacheSeries[] {
  return [
    { title: 'Base', bytesPerToken: base.cache.bytesPerToken },
    { title: 'Result', bytesPerToken: result.cache.bytesPerToken },
  ];
}

/** The base and each size of cache among the rows, largest first. Sizes that several methods share appear once. */
export function comparisonCacheSeries(report: ComparisonReport): CacheSeries[] {
  const bySize = new Map<number, string>();
  for (const row of report.rows) {
    if (!bySize.has(row.bytesPerToken)) bySize.set(row.bytesPerToken, `${formatRatio(row.ratio)} kept`);
  }
  bySize.delete(report.base.cache.bytesPerToken);
  const reduced = [...bySize].sort((a, b) => b[0] - a[0]).map(([bytesPerToken, title]) => ({ title, bytesPerToken }));
  return [{ title: 'base', bytesPerToken: report.base.cache.bytesPerToken }, ...reduced];
}
