import type { CacheDtype, EvaluationResult, Measurement } from '@kvlr/core';
import { describeEvaluation } from '../format/describe-evaluation.ts';
import { formatMeasurement, formatRatioMeasurement, formatShareMeasurement } from '../format/format-measurement.ts';
import { formatSignificant } from '../format/format-number.ts';
import { bytesCell } from '../tables/bytes-cell.ts';
import { left, type ReportTable, right } from '../tables/report-table.ts';
import { terminalNotes } from './terminal-notes.ts';
import { plainStyles, type TerminalStyles } from './terminal-styles.ts';
import { terminalTable } from './terminal-table.ts';

/** Digits of a change in percent: halves change the perplexity by less than a thousandth of a percent. */
const CHANGE_DIGITS = 4;

/** One model with its cache kept in several dtypes, each beside the cache of f32, which comes first. */
export function cacheDtypesTerminal(
  evaluations: readonly { dtype: CacheDtype; evaluation: EvaluationResult }[],
  styles: TerminalStyles = plainStyles,
): string {
  const table: ReportTable = {
    caption: 'Dtypes of the KV cache',
    columns: [
      left('Cache'),
      right('Per token'),
      right('Perplexity'),
      right('Against f32'),
      right('KL to f32, nats'),
      right('Same top token'),
    ],
    rows: evaluations.map(({ dtype, evaluation: { perplexity, againstBase, cache } }) => [
      dtype,
      bytesCell(cache.bytesPerToken),
      formatMeasurement(perplexity),
      ...(againstBase
        ? [
            formatRatioMeasurement(againstBase.perplexityRatio, CHANGE_DIGITS),
            formatTiny(againstBase.klDivergence),
            formatShareMeasurement(againstBase.topOneAgreement),
          ]
        : []),
    ]),
  };
  const first = evaluations[0];
  const notes = first
    ? [
        describeEvaluation(first.evaluation),
        'Every key and value is read back from the cache, as in generating. Changes are paired over windows.',
      ]
    : [];
  return [terminalTable(table, styles), '', ...terminalNotes(notes, styles)].join('\n');
}

/** Value and error by their own sizes, which differ by powers of ten from row to row. */
function formatTiny({ value, standardError }: Measurement): string {
  const text = formatSignificant(value);
  return standardError === undefined ? text : `${text} ± ${formatSignificant(standardError)}`;
}
