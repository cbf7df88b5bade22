import type { AttentionReport } from '../documents/attention-report.ts';
import { formatCount, formatPercent, formatSignificant } from '../format/format-number.ts';
import { bytesCell } from './bytes-cell.ts';
import { left, type ReportTable, right } from './report-table.ts';
import { speedupText } from './speedup-text.ts';

/** Attention by context, dtype and KV heads. */
export function attentionTable({ rows, copyBytesPerSecond }: AttentionReport): ReportTable {
  return {
    caption: `Decode attention of one layer; copying moves ${formatSignificant(copyBytesPerSecond / 1e9)} GB/s`,
    columns: [
      ...[left('Cache'), right('Context'), right('KV heads'), right('Call, ms, p50'), right('Least')],
      ...[right('Bytes read'), right('GB/s'), right('Of copying'), right('Speed-up (lowest to highest)')],
    ],
    rows: rows.map((row) => [
      row.dtype,
      formatCount(row.context),
      formatCount(row.keyValueHeads),
      formatSignificant(row.call.p50),
      formatSignificant(row.call.least),
      bytesCell(row.bytesRead),
      formatSignificant(row.bytesPerSecond / 1e9),
      formatPercent(row.bytesPerSecond / copyBytesPerSecond),
      speedupText(row.speedup),
    ]),
  };
}
