import type { StageTiming } from '../documents/compression-report.ts';
import { formatDuration } from './format-duration.ts';

/** What stages took in this run and in the earlier ones that parts were taken over from. */
interface WorkTime {
  seconds: number;
  earlierSeconds: number;
  /** True where a part was made by a run that kept no record of its time. */
  unrecorded: boolean;
}

/** The stages' times together. Reading what an earlier run had finished is no work. */
function sumStageTimes(stages: readonly StageTiming[]): WorkTime {
  const sum: WorkTime = { seconds: 0, earlierSeconds: 0, unrecorded: false };
  for (const { seconds, skipped = false, earlierSeconds = skipped ? null : 0 } of stages) {
    sum.seconds += skipped ? 0 : seconds;
    sum.earlierSeconds += earlierSeconds ?? 0;
    sum.unrecorded ||= earlierSeconds === null;
  }
  return sum;
}

/** How long the stages took in all, and in words what of it earlier runs did; '' where they did nothing. */
export function describeWorkTime(stages: readonly StageTiming[]): { total: string; remark: string } {
  const { seconds, earlierSeconds, unrecorded } = sumStageTimes(stages);
  const remarks = [];
  if (earlierSeconds > 0) {
    remarks.push(seconds === 0 ? 'in an earlier run' : `${formatDuration(earlierSeconds)} of it in earlier runs`);
  }
  if (unrecorded) remarks.push('without earlier work of unknown time');
  return { total: formatDuration(seconds + earlierSeconds), remark: remarks.join('; ') };
}

/** "12 min 05 s", or with "(9 min 10 s of it in earlier runs)" behind it where work was taken over. */
export function formatWorkTime(stages: readonly StageTiming[]): string {
  if (stages.every(({ skipped, earlierSeconds }) => skipped && earlierSeconds == null)) return 'from an earlier run';
  const { total, remark } = describeWorkTime(stages);
  return remark ? `${total} (${remark})` : total;
}
