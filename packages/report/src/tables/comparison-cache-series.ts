import type { ComparisonReport } from '../documents/comparison-report.ts';
import { formatRatio } from '../format/format-ratio.ts';
import type { CacheSeries } from './cache-table.ts';

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
