import { cacheSize, type EvaluationResult, type ModelSource, type TensorDtype } from '@kvlr/core';
import { cachedLogits, type EvaluationWindow, evaluate, toHarnessJson } from '@kvlr/evaluation';
import { type LogitDifference, logitDifference } from '../evaluation/logit-difference.ts';
import type { ModelRunner } from '../models/model-runner.ts';
import { partOfProgress } from '../run/part-of-progress.ts';
import type { RunContext } from '../run/run-context.ts';
import { type ArtefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { artefactNames } from '../store/run-store.ts';

/** How the result does against the model it was made from, on the same windows. */
export interface Judgement {
  base: EvaluationResult;
  result: EvaluationResult;
  /** What rounding to F16 or BF16 alone changed, on the first window; undefined when nothing was rounded. */
  rounding?: LogitDifference & { dtype: TensorDtype };
}

export interface JudgeRequest {
  runner: ModelRunner;
  base: ModelSource;
  /** The compressed model in F32, and as it is written. */
  exact: ModelSource;
  written: ModelSource;
  /** Element type of the written attention weights. */
  dtype: TensorDtype;
  /** Bytes of a number in the cache, for both models. */
  bytesPerElement: number;
  windows: () => Promise<EvaluationWindow[]>;
  key: ArtefactKey;
}

/** Perplexity of both models, KL divergence and agreement between them, and what rounding changed. */
export function judge(context: RunContext, request: JudgeRequest): Promise<Judgement> {
  return context.stage('evaluation', 'Perplexity and KL divergence against the original', async (control, watch) => {
    const kept = await loadJson<Judgement>(context.store, artefactNames.evaluation, request.key);
    if (kept) return { value: kept.value, skipped: true, takenOver: [kept.effort] };
    const { base, exact, written, runner, bytesPerElement, dtype } = request;
    const windows = await request.windows();
    const judgement = await runner.use(base, async (baseModel) => {
      const baseLogits = cachedLogits(baseModel);
      const baseResult = await evaluate({
        ...partOfProgress(control, 0, 2),
        model: baseLogits,
        modelId: base.id,
        windows,
        cache: cacheSize(base.shape, bytesPerElement),
      });
      return runner.use(written, async (writtenModel): Promise<Judgement> => {
        const result = await evaluate({
          ...partOfProgress(control, 1, 2),
          model: writtenModel,
          modelId: written.id,
          base: baseLogits,
          baseModelId: base.id,
          windows,
          cache: cacheSize(written.shape, bytesPerElement),
        });
        if (written === exact) return { base: baseResult, result };
        const firstWindow = windows[0]!.tokenIds.slice(0, -1);
        const difference = await runner.use(exact, (exactModel) =>
          logitDifference(exactModel, writtenModel, firstWindow),
        );
        return { base: baseResult, result, rounding: { dtype, ...difference } };
      });
    });
    const harness = toHarnessJson(judgement.result, { date: new Date() });
    const origin = { key: request.key, effort: watch.total() };
    await saveJson(context.store, artefactNames.evaluation, origin, judgement, harness);
    return { value: judgement, detail: describe(judgement) };
  });
}

function describe({ base, result, rounding }: Judgement): string {
  const perplexities = `perplexity ${base.perplexity.value.toFixed(2)} -> ${result.perplexity.value.toFixed(2)}`;
  if (!rounding || rounding.maximum === 0) return perplexities;
  const share = (100 * rounding.relativeToRange).toPrecision(2);
  return `${perplexities}; rounding to ${rounding.dtype} moves the logits by at most ${share} % of their range`;
}
