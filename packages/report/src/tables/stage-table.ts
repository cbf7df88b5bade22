import type { StageTiming } from '../documents/compression-report.ts';
import { formatDuration } from '../format/format-duration.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** Time per stage and in all. */
export function stageTable(stages: readonly StageTiming[]): ReportTable {
  const total = stages.reduce((sum, stage) => sum + (stage.skipped ? 0 : stage.seconds), 0);
  return {
    caption: 'Time by stage',
    columns: [left('Stage'), right('Time')],
    rows: [
      ...stages.map((stage) => [stage.title, stage.skipped ? 'from an earlier run' : formatDuration(stage.seconds)]),
      ['all', formatDuration(total)],
    ],
  };
}
