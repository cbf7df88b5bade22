import type { CompressionReport } from '../documents/compression-report.ts';
import { describeCacheElement, describeEvaluation } from '../format/describe-evaluation.ts';
import { formatBytes } from '../format/format-bytes.ts';
import { describeWorkTime } from '../format/format-work-time.ts';
import { stripControlCharacters } from '../format/strip-control-characters.ts';
import { headlineTable } from '../tables/headline-table.ts';
import { terminalNotes } from './terminal-notes.ts';
import { plainStyles, type TerminalStyles } from './terminal-styles.ts';
import { terminalTable } from './terminal-table.ts';

/** The first screen after a compression: what it cost, what it saves, and what stands behind the figures. */
export function compressionTerminal(report: CompressionReport, styles: TerminalStyles = plainStyles): string {
  const { environment, result } = report;
  const { total, remark } = describeWorkTime(report.stages);
  const run = [`Took ${total} on ${environment.backend}`];
  if (environment.peakMemoryBytes !== undefined) run.push(`peak memory ${formatBytes(environment.peakMemoryBytes)}`);
  const notes = [
    describeEvaluation(result),
    describeCacheElement(result.cache.bytesPerElement),
    `${run.join(', ')}.`,
    ...(remark ? [`Time: ${remark}.`] : []),
    ...(report.notes ?? []),
  ];
  return [
    styles.strong(stripControlCharacters(report.title)),
    '',
    terminalTable(headlineTable(report), styles),
    '',
    ...terminalNotes(notes, styles),
  ].join('\n');
}
