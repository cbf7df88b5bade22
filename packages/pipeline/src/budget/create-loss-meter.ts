import { applyCompression } from '@kvlr/checkpoint';
import { type CompressionMethod, compressLayer, readAttentionWeights } from '@kvlr/compression';
import {
  type BudgetRequest,
  type CalibrationStatistics,
  cacheSize,
  type LogitSource,
  type ModelSource,
} from '@kvlr/core';
import { type EvaluationWindow, evaluate } from '@kvlr/evaluation';
import type { ModelRunner } from '../models/model-runner.ts';
import type { RunContext } from '../run/run-context.ts';
import type { Stopwatch } from '../run/stopwatch.ts';
import { type ArtefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { addEfforts, type Effort } from '../store/effort.ts';
import { artefactNames } from '../store/run-store.ts';

export interface LossMeterRequest {
  model: ModelSource;
  statistics: CalibrationStatistics;
  method: CompressionMethod;
  unit: BudgetRequest['unit'];
  /** KV heads that layers are grouped into where the budget is one of ranks. */
  keyValueHeads: number;
  groupsOf: (layer: number, keyValueHeads: number) => Promise<number[][]>;
  runner: ModelRunner;
  /** What is measured against, and on which windows: asked for with the first measurement. */
  prepare: () => Promise<{ base: LogitSource; windows: readonly EvaluationWindow[] }>;
  /** Of the stage that measures. */
  watch: Stopwatch;
  key: ArtefactKey;
}

export interface LossMeter {
  measuredLoss: NonNullable<BudgetRequest['measuredLoss']>;
  /** What the measurements of earlier runs took, once one of them was used. */
  takenOver: readonly (Effort | undefined)[];
}

/**
 * Measures what compressing one layer costs: mean KL(original || model) per token, nats. Every measurement is saved when it
 * is made, so that a run that was cut, or one with another total, does not repeat it.
 */
export async function createLossMeter(context: RunContext, request: LossMeterRequest): Promise<LossMeter> {
  const { model, method, unit, keyValueHeads, runner, key } = request;
  const kept = await loadJson<Record<string, number>>(context.store, artefactNames.budgetLosses, key);
  const known = { ...kept?.value };
  const takenOver: (Effort | undefined)[] = [];
  const measuredLoss: LossMeter['measuredLoss'] = async (layer, budget) => {
    const heads = unit === 'heads' ? budget.keys : keyValueHeads;
    const name = `layer ${layer}, ${budget.keys} keys, ${budget.values} values in ${heads} groups`;
    if (kept?.value[name] !== undefined && takenOver.length === 0) takenOver.push(kept.effort);
    const earlier = known[name];
    if (earlier !== undefined) return earlier;
    const compressed = compressLayer({
      shape: model.shape,
      layer,
      weights: await readAttentionWeights(model, layer),
      statistics: request.statistics.layers[layer],
      groups: await request.groupsOf(layer, heads),
      method,
      ...(unit === 'ranks' && { ranks: budget }),
    });
    const candidate = applyCompression(model, [compressed]);
    const { base, windows } = await request.prepare();
    const { againstBase } = await runner.use(candidate, (loaded) =>
      evaluate({
        model: loaded,
        modelId: candidate.id,
        base,
        baseModelId: model.id,
        windows,
        cache: cacheSize(candidate.shape, 4),
        signal: context.signal,
      }),
    );
    const loss = againstBase!.klDivergence.value;
    known[name] = loss;
    const effort = addEfforts([...(kept ? [kept.effort] : []), request.watch.total()]);
    await saveJson(context.store, artefactNames.budgetLosses, { key, effort }, known);
    return loss;
  };
  return { measuredLoss, takenOver };
}
