import { formatBytes, formatExactBytes } from '../format/format-bytes.ts';
import type { ExactCell } from './report-table.ts';

/** Bytes in binary units, the exact count behind them. */
export function bytesCell(bytes: number): ExactCell {
  return { text: formatBytes(bytes), exact: formatExactBytes(bytes) };
}
