import type { PairedTaskDifference, TaskReport, TaskRow } from '../documents/task-report.ts';
import { formatCount, formatMeasurement, formatSignificant } from '../format/format.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** Scores between 0 and 1 have four digits, as the harness prints them; others as many as are sensible. */
function formatValue({ value, standardError }: { value: number; standardError?: number }): string {
  if (Math.abs(value) > 1) return formatMeasurement({ value, ...(standardError !== undefined && { standardError }) });
  return `${value.toFixed(4)}${standardError === undefined ? '' : ` ± ${standardError.toFixed(4)}`}`;
}

function formatDifference(difference: PairedTaskDifference): string {
  const { value, interval } = difference;
  const digits = (one: number) => {
    const text = Math.abs(value) > 1 ? formatSignificant(Math.abs(one)) : Math.abs(one).toFixed(4);
    return `${one < 0 ? '\u2212' : '+'}${text}`;
  };
  if (interval === undefined) return digits(value);
  return `${digits(value)} (${interval.map(digits).join(' to ')})`;
}

/**
 * Tasks in the form of lm-evaluation-harness's table: one row a metric, one for each condition under it. With several conditions the last
 * column is the difference from the first, paired over documents, and its interval of 95 %.
 */
export function taskTable({ conditions, rows }: TaskReport): ReportTable {
  const several = conditions.length > 1;
  return {
    caption: 'Tasks',
    columns: [
      left('Tasks'),
      right('Version'),
      left('Filter'),
      right('n-shot'),
      right('n'),
      left('Metric'),
      ...(several ? [left('Model')] : []),
      right('Value ± Stderr'),
      ...(several ? [right('Against the first, 95% interval')] : []),
    ],
    rows: rows.flatMap((row) =>
      conditions.map(({ name }, place) => {
        const difference = row.differences[place];
        return [
          ...(place === 0 ? describeRow(row) : ['', '', '', '', '', '']),
          ...(several ? [name] : []),
          formatValue(row.values[place]!),
          ...(several ? [difference === undefined ? '' : formatDifference(difference)] : []),
        ];
      }),
    ),
  };
}

function describeRow(row: TaskRow): string[] {
  const version = row.version === undefined ? 'N/A' : String(row.version);
  const metric = `${row.metric} ${row.higherIsBetter ? '↑' : '↓'}`;
  return [row.task, version, row.filter, String(row.numFewshot), formatCount(row.documents), metric];
}
