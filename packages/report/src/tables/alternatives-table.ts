import type { Alternative, Alternatives } from '../documents/compression-report.ts';
import { formatPercent, formatRatioMeasurement } from '../format/format.ts';
import { bytesCell, left, type ReportTable, right } from './report-table.ts';

/** An alternative in a few words: 'refit', 'original, int8'. */
export function nameOfAlternative({ heads, cacheDtype }: Alternative): string {
  return cacheDtype === undefined ? heads : `${heads}, ${cacheDtype}`;
}

/** What the result and what stands beside it cost, and the bytes that they take. */
export function alternativesTable({ points }: Alternatives): ReportTable {
  const base = points[0]!.bytesPerToken;
  return {
    caption: 'The result and what stands beside it',
    columns: [left('Heads and cache'), right('Bytes per token'), right('Share'), right('Change of perplexity')],
    rows: points.map((point) => [
      nameOfAlternative(point),
      bytesCell(point.bytesPerToken),
      formatPercent(point.bytesPerToken / base, 0),
      point === points[0] ? '' : formatRatioMeasurement(point.perplexityRatio),
    ]),
  };
}

/** On what they were measured, and what they are. */
export function alternativesNote({ points, windowCount, windowLength }: Alternatives): string {
  const before = (['closed form', 'refit'] as const).filter((heads) => points.some((point) => point.heads === heads));
  const stages = before.map((heads) => `“${heads}”`).join(' and ');
  const coded = points.some(({ cacheDtype }) => cacheDtype !== undefined);
  return [
    `On ${windowCount} windows of ${windowLength} tokens only, so these figures are rougher than those above.`,
    ...(before.length > 0 ? [`${stages}: the result before what followed.`] : []),
    ...(coded
      ? ['“int8” and “int4”: caches of 8 and 4 bits, which need no new checkpoint where an engine has them.']
      : []),
  ].join(' ');
}
