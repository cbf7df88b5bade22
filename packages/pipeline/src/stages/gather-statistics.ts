import { randomWindows, statisticsFromBundle, statisticsToBundle } from '@kvlr/calibration';
import type { CalibrationStatistics, Checkpoint } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import type { ModelRunner } from '../models/model-runner.ts';
import type { RunContext } from '../run/run-context.ts';
import { sayWhichText } from '../run/say-which-text.ts';
import { type ArtefactKey, loadBundle, saveBundle } from '../store/artefact.ts';
import { artefactNames } from '../store/run-store.ts';

export interface StatisticsRequest {
  model: Checkpoint;
  runner: ModelRunner;
  calibration: Recipe['calibration'];
  /** Tokens of the calibration text. */
  tokenIds: () => Promise<Int32Array>;
  textHash: string;
  key: ArtefactKey;
}

/** Stage 1: second moments of every layer over the calibration text. */
export function gatherStatistics(context: RunContext, request: StatisticsRequest): Promise<CalibrationStatistics> {
  const { model, calibration, key } = request;
  return context.stage('statistics', 'Second moments over the calibration text', async (control, watch) => {
    const kept = await loadBundle(context.store, artefactNames.statistics, key);
    if (kept) return { value: statisticsFromBundle(kept.value), skipped: true, takenOver: [kept.effort] };
    const { windows: count, windowLength: length, seed } = calibration;
    const tokenIds = await request.tokenIds();
    const windows = sayWhichText('calibration', () => randomWindows(tokenIds, { count, length, seed }));
    const statistics = await request.runner.collectStatistics(model, {
      ...control,
      windows,
      provenance: { modelId: model.id, textHash: request.textHash, seed: calibration.seed },
    });
    const origin = { key, effort: watch.total() };
    await saveBundle(context.store, artefactNames.statistics, origin, statisticsToBundle(statistics));
    const tokens = statistics.provenance.tokenCount.toLocaleString('en-US');
    return { value: statistics, detail: `${tokens} tokens in ${windows.length} windows` };
  });
}
