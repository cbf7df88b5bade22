import { formatCount } from '../format/format-number.ts';
import { bytesCell } from './bytes-cell.ts';
import { left, type ReportTable, right } from './report-table.ts';

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
