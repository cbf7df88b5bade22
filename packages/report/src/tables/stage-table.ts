import type { StageTiming } from '../documents/compression-report.ts';
import { formatWorkTime } from '../format/format-work-time.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** Time per stage and in all. */
export function stageTable(stages: readonly StageTiming[]): ReportTable {
  return {
    caption: 'Time by stage',
    columns: [left('Stage'), right('Time')],
    rows: [...stages.map((stage) => [stage.title, formatWorkTime([stage])]), ['all', formatWorkTime(stages)]],
  };
}
