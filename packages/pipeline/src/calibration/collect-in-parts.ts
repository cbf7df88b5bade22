import { type CalibrationRequest, mergeStatistics } from '@kvlr/calibration';
import { type CalibrationStatistics, mapInOrder } from '@kvlr/core';

/** Windows whose moments are summed before they meet the others: fixed, so that sums do not depend on the workers. */
const WINDOWS_A_PART = 4;

type Part = Pick<CalibrationRequest, 'windows' | 'provenance'>;

/**
 * Statistics of all windows, gathered in parts of a few windows that may run side by side and are merged in their order: the
 * numbers are the same, bit for bit, whoever gathers them and however many at once.
 */
export async function collectInParts(
  request: Part & Pick<CalibrationRequest, 'onEvent' | 'signal'>,
  concurrency: number,
  collectPart: (part: Part) => Promise<CalibrationStatistics>,
): Promise<CalibrationStatistics> {
  const { windows, provenance, onEvent, signal } = request;
  const count = Math.max(1, Math.ceil(windows.length / WINDOWS_A_PART));
  const parts = Array.from({ length: count }, (_, part) =>
    windows.slice(part * WINDOWS_A_PART, (part + 1) * WINDOWS_A_PART),
  );
  let merged: CalibrationStatistics | undefined;
  let completed = 0;
  await mapInOrder({
    items: parts,
    concurrency,
    signal,
    work: (part) => collectPart({ windows: part, provenance }),
    onResult: (next, part) => {
      merged = merged ? mergeStatistics([merged, next]) : next;
      completed += parts[part]!.length;
      onEvent?.({ type: 'progress', stage: 'statistics', completed, total: windows.length, unit: 'windows' });
    },
  });
  const { runs: _, ...ofOneRun } = merged!.provenance;
  return { layers: merged!.layers, provenance: ofOneRun };
}
