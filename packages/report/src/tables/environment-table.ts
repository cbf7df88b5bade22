import type { RunEnvironment } from '../documents/run-environment.ts';
import { bytesCell } from './bytes-cell.ts';
import { left, type ReportTable } from './report-table.ts';

/** What the figures were made on. */
export function environmentTable(environment: RunEnvironment): ReportTable {
  const rows: ReportTable['rows'] = [['Backend', environment.backend]];
  if (environment.machine) rows.push(['Machine', environment.machine]);
  if (environment.peakMemoryBytes !== undefined) rows.push(['Peak memory', bytesCell(environment.peakMemoryBytes)]);
  for (const [name, version] of Object.entries(environment.versions ?? {})) rows.push([name, version]);
  if (environment.date) rows.push(['Date', environment.date]);
  return { caption: 'Environment', columns: [left('What'), left('Value')], rows };
}
