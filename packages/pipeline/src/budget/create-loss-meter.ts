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
import type { ModelRunner } from '../run/model-runner.ts';
import type { RunContext } from '../run/run-context.ts';
import { type ArtefactKey, loadJson, saveJson } from '../store/artefact.ts';
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
  key: ArtefactKey;
}

/**
 * Measures what compressing one layer costs: mean KL(original || model) per token, nats. Every measurement is saved when it
 * is made, so that a run that was cut, or one with another total, does not repeat it.
 */
export async function createLossMeter(
  context: RunContext,
  request: LossMeterRequest,
): Promise<NonNullable<BudgetRequest['measuredLoss']>> {
  const { model, method, unit, keyValueHeads, runner, key } = request;
  const known = (await loadJson<Record<string, number>>(context.store, artefactNames.budgetLosses, key)) ?? {};
  return async (layer, budget) => {
    const heads = unit === 'heads' ? budget.keys : keyValueHeads;
    const name = `layer ${layer}, ${budget.keys} keys, ${budget.values} values in ${heads} groups`;
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
    await saveJson(context.store, artefactNames.budgetLosses, key, known);
    return loss;
  };
}
