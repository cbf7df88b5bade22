import type { TextDocument } from '@kvlr/calibration';
import {
  type CacheDtype,
  type Checkpoint,
  codedCacheSize,
  type EvaluationResult,
  type LogitSource,
  type RunControl,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { cachedLogits, evaluate } from '@kvlr/evaluation';
import { ModelRunner, type RunnerRequest } from '../models/model-runner.ts';
import { partOfProgress } from '../run/part-of-progress.ts';
import { evaluationStage } from './evaluation-stage.ts';
import { evaluationWindows } from './evaluation-windows.ts';
import { requireContext } from './require-context.ts';

export interface CacheDtypesRequest extends RunControl {
  model: Checkpoint;
  /** Besides f32, which the others are measured against. */
  dtypes: readonly CacheDtype[];
  texts: readonly TextDocument[];
  windows: Recipe['evaluation'];
  runtime?: RunnerRequest;
}

/** What a model scores with its KV cache kept in one dtype. */
export interface CacheDtypeEvaluation {
  dtype: CacheDtype;
  /** Against the same model with a cache of f32, unless it is that one. */
  evaluation: EvaluationResult;
}

/**
 * What it costs to keep the KV cache in fewer bits: perplexity with every key and value read back from a cache of each dtype, as in
 * generating, and the distance from the same weights with a cache of f32, paired over windows. Weights are float32 throughout.
 * What `kvlr eval --cache-dtype` does.
 *
 * @returns f32 first, then the others in the order in which they were given.
 * @throws KvlrError 'usage' when windows are longer than the context.
 */
export async function evaluateCacheDtypes(request: CacheDtypesRequest): Promise<CacheDtypeEvaluation[]> {
  const { model, texts } = request;
  requireContext('evaluateCacheDtypes', model, request.windows.windowLength);
  const dtypes = [...new Set<CacheDtype>(['f32', ...request.dtypes])];
  const windows = evaluationWindows(texts, await model.tokenizer(), request.windows);
  const runner = await ModelRunner.create(request.runtime ?? {}, request.onEvent);

  const judge = async (
    control: RunControl,
    part: number,
    logits: LogitSource,
    base?: LogitSource,
  ): Promise<CacheDtypeEvaluation> => {
    const dtype = dtypes[part]!;
    const evaluation = await evaluate({
      ...partOfProgress(control, part, dtypes.length),
      model: logits,
      modelId: model.id,
      base,
      baseModelId: base && model.id,
      windows,
      cache: codedCacheSize(model.shape, dtype),
    });
    return { dtype, evaluation };
  };
  const judgeAll = async (control: RunControl, decoder: LogitSource): Promise<CacheDtypeEvaluation[]> => {
    const base = cachedLogits(decoder);
    const judged = [await judge(control, 0, base)];
    for (let part = 1; part < dtypes.length; part++) {
      judged.push(await runner.use(model, (coded) => judge(control, part, coded, base), dtypes[part]));
    }
    return judged;
  };
  return evaluationStage(request, windows, (control) =>
    runner.use(model, (decoder) => judgeAll(control, decoder), 'f32'),
  );
}
