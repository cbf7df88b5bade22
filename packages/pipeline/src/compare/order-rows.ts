import { comparePerplexities } from '@kvlr/evaluation';
import type { ComparisonRow, MethodOrder, PairedDifference, RankedMethod } from '@kvlr/report';

/**
 * For each ratio its rows by perplexity, the best first, each with the paired difference to the row before it and to the best.
 *
 * @param windowLength Tokens of each window that the rows were judged on; all but the first are predicted.
 * @param usualOf Name of the row of contiguous groups, or of the uniform budget, that a row is held against too.
 */
export function orderRows(
  rows: readonly ComparisonRow[],
  windowLength: number,
  usualOf: (method: string) => string | undefined = () => undefined,
): MethodOrder[] {
  const ratios = [...new Set(rows.map(({ ratio }) => ratio))].sort((a, b) => b - a);
  return ratios.map((ratio) => {
    const sorted = rows.filter((row) => row.ratio === ratio).sort((a, b) => a.perplexity.value - b.perplexity.value);
    const difference = (row: ComparisonRow, better: ComparisonRow): PairedDifference | undefined =>
      row.windows &&
      better.windows && { to: better.method, ...comparePerplexities(row.windows, better.windows, windowLength - 1) };
    const ranks = sorted.map((row, place): RankedMethod => {
      const usual = sorted.find(({ method }) => method !== row.method && method === usualOf(row.method));
      const toUsual = usual && difference(row, usual);
      if (place === 0) return { method: row.method, ...(toUsual && { toUsual }) };
      return {
        method: row.method,
        ...(toUsual && { toUsual }),
        toNext: difference(row, sorted[place - 1]!),
        toBest: difference(row, sorted[0]!),
      };
    });
    return { ratio, ranks };
  });
}
