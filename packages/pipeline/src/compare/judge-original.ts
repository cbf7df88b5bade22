import { cacheSize, type EvaluationResult, type LogitSource, type ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type EvaluationWindow, evaluate } from '@kvlr/evaluation';
import type { RunContext } from '../run/run-context.ts';
import { artefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { artefactNames } from '../store/run-store.ts';

export interface OriginalRequest {
  model: ModelSource;
  logits: LogitSource;
  windows: readonly EvaluationWindow[];
  bytesPerElement: number;
  evaluation: Recipe['evaluation'];
  evaluationHash: string;
}

/** The row of the model itself, or the one that an earlier run kept. */
export async function judgeOriginal(context: RunContext, request: OriginalRequest): Promise<EvaluationResult> {
  const { model, logits, windows, bytesPerElement, evaluation, evaluationHash } = request;
  const key = await artefactKey({ modelId: model.id, evaluationHash }, evaluation);
  return context.stage('evaluation', 'The original', async (control, watch) => {
    const kept = await loadJson<EvaluationResult>(context.store, artefactNames.comparisonBase, key);
    if (kept) return { value: kept.value, skipped: true, takenOver: [kept.effort], detail: describe(kept.value) };
    const cache = cacheSize(model.shape, bytesPerElement);
    const value = await evaluate({ ...control, model: logits, modelId: model.id, windows, cache });
    await saveJson(context.store, artefactNames.comparisonBase, { key, effort: watch.total() }, value);
    return { value, detail: describe(value) };
  });
}

function describe({ perplexity }: EvaluationResult): string {
  return `perplexity ${perplexity.value.toFixed(2)}`;
}
