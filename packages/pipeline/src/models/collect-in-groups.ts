import { type CalibrationRequest, collectStatistics, mergeStatistics } from '@kvlr/calibration';
import { type ActivationSource, type CalibrationStatistics, type LogitSource, mapInOrder } from '@kvlr/core';
import { windowsPerGroup } from './window-stream.ts';
import type { ModelInWorkers } from './workers.ts';

/** A whole model that windows run through, in native code or on worker threads. */
export type WholeModel = LogitSource & (ModelInWorkers | ActivationSource);

/**
 * Statistics of all windows, gathered in groups of a few windows that may run side by side and are merged in their order: the
 * numbers are the same, bit for bit, whoever gathers them and however many at once.
 */
export async function collectInGroups(
  model: WholeModel,
  { windows, provenance, onEvent, signal }: Omit<CalibrationRequest, 'activations'>,
): Promise<CalibrationStatistics> {
  const collect = (group: readonly Int32Array[]) =>
    'collectStatistics' in model
      ? model.collectStatistics({ windows: group, provenance })
      : collectStatistics({ activations: model, windows: group, provenance, ...(signal && { signal }) });
  const groups = Array.from({ length: Math.max(1, Math.ceil(windows.length / windowsPerGroup)) }, (_, group) =>
    windows.slice(group * windowsPerGroup, (group + 1) * windowsPerGroup),
  );
  let merged: CalibrationStatistics | undefined;
  let completed = 0;
  await mapInOrder({
    items: groups,
    concurrency: model.concurrency ?? 1,
    signal,
    work: collect,
    onResult: (next, group) => {
      merged = merged ? mergeStatistics([merged, next]) : next;
      completed += groups[group]!.length;
      onEvent?.({ type: 'progress', stage: 'statistics', completed, total: windows.length, unit: 'windows' });
    },
  });
  return merged!;
}
