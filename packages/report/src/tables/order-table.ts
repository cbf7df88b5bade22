import type { ComparisonReport, ComparisonRow, MethodOrder, PairedDifference } from '../documents/comparison-report.ts';
import { formatMeasurement, formatRatioMeasurement } from '../format/format-measurement.ts';
import { formatRatio } from '../format/format-ratio.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** What the orders' figures mean. */
export const orderNote =
  'Differences between rows are paired: taken window by window, ± one standard error of their mean. Below two standard ' +
  'errors they are called noise, for then the order of the two is not established.';

/** The rows of one ratio by perplexity, each held against the one before it and against the best. */
export function orderTable(report: ComparisonReport, { ratio, ranks }: MethodOrder): ReportTable {
  const rowOf = (method: string): ComparisonRow =>
    report.rows.find((row) => row.method === method && row.ratio === ratio)!;
  // The usual row's name begins with that of contiguous groups or of the uniform budget: 'contiguous+light'.
  const usual = ranks.find(({ toUsual }) => toUsual)?.toUsual?.to.split('+')[0];
  return {
    caption: `Order at ${formatRatio(ratio)} of the KV cache`,
    columns: [
      left('Method'),
      right('Perplexity'),
      right('Behind the best'),
      right('Behind the one above'),
      ...(usual ? [right(`Against ${usual}`)] : []),
      left(''),
    ],
    rows: ranks.map(({ method, toNext, toBest, toUsual }) => [
      rowOf(method).title,
      formatMeasurement(rowOf(method).perplexity),
      toBest ? formatRatioMeasurement(toBest.perplexityRatio, 2) : '',
      toNext ? formatRatioMeasurement(toNext.perplexityRatio, 2) : '',
      ...(usual ? [toUsual ? formatRatioMeasurement(toUsual.perplexityRatio, 2) : ''] : []),
      describeNoise([toBest, toNext, toUsual], (to) => rowOf(to).title),
    ]),
  };
}

/** In words, from which rows this one cannot be told apart; the best named first. */
function describeNoise(differences: (PairedDifference | undefined)[], titleOf: (method: string) => string): string {
  const known = differences.filter((difference) => difference !== undefined);
  if (known.some(({ withinNoise }) => withinNoise === undefined)) return 'too few windows to tell';
  const near = known.filter(({ withinNoise }) => withinNoise).map(({ to }) => titleOf(to));
  return near.length === 0 ? '' : `within noise of ${[...new Set(near)].join(' and ')}`;
}
