import { cacheSize, type EvaluationResult, type LogitSource, type ModelSource, type TensorDtype } from '@kvlr/core';
import { cachedLogits, type EvaluationWindow, evaluate, toHarnessJson } from '@kvlr/evaluation';
import type { ModelRunner } from '../models/runner.ts';
import { type ArtefactKey, jsonCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';

/** How the result does against the model it was made from, on the same windows. */
export interface Evaluation {
  base: EvaluationResult;
  result: EvaluationResult;
  /** What rounding to F16 or BF16 alone changed, on the first window; undefined when nothing was rounded. */
  rounding?: LogitDifference & { dtype: TensorDtype };
}

export interface EvaluationStageRequest {
  runner: ModelRunner;
  base: ModelSource;
  /** The compressed model in F32, and as it is written. */
  exact: ModelSource;
  written: ModelSource;
  /** Element type of the written attention weights. */
  dtype: TensorDtype;
  /** Bytes of a number in the cache, for both models. */
  bytesPerElement: number;
  windows: readonly EvaluationWindow[];
  key: ArtefactKey;
}

/** Stage 7: perplexity of both models, KL divergence and agreement between them, and what rounding changed. */
export function evaluateResult(context: RunContext, request: EvaluationStageRequest): Promise<Evaluation> {
  const { base, exact, written, runner, windows, bytesPerElement, dtype, key } = request;
  const stage = {
    stage: 'evaluation' as const,
    title: 'Perplexity and KL divergence against the original',
    name: artefactNames.evaluation,
    key,
    codec: jsonCodec<Evaluation>(({ result }) => toHarnessJson(result, { date: new Date() })),
    detail: describeEvaluation,
  };
  const settingsOf = ({ id, shape }: ModelSource) => ({
    modelId: id,
    windows,
    cache: cacheSize(shape, bytesPerElement),
  });
  const inputs = windows.map(({ tokenIds }) => tokenIds.slice(0, -1));
  return context.cached(stage, async (running) => {
    const [first, second] = [running.part(0, 2), running.part(1, 2)];
    const evaluateBoth = async (baseModel: LogitSource) => {
      const baseLogits = cachedLogits(baseModel);
      const baseResult = await evaluate({ ...first, ...settingsOf(base), model: baseLogits });
      const evaluateWritten = async (writtenModel: LogitSource) => {
        const against = { base: baseLogits, baseModelId: base.id, compare: runner.compareLogits };
        const result = await evaluate({ ...second, ...settingsOf(written), model: writtenModel, ...against });
        const rounded = written === exact ? undefined : await writtenModel.logits(inputs[0]!);
        return { base: baseResult, result, rounded };
      };
      return runner.use(written, inputs, evaluateWritten, second);
    };
    const { rounded, ...evaluation } = await runner.use(base, inputs, evaluateBoth, first);
    if (rounded === undefined) return evaluation;
    // A third model would lie beside the two.
    const unrounded = await runner.use(exact, inputs.slice(0, 1), (model) => model.logits(inputs[0]!));
    return { ...evaluation, rounding: { dtype, ...logitDifference(unrounded, rounded) } };
  });
}

function describeEvaluation({ base, result, rounding }: Evaluation): string {
  const perplexities = `perplexity ${base.perplexity.value.toFixed(2)} -> ${result.perplexity.value.toFixed(2)}`;
  if (!rounding || rounding.maximum === 0) return perplexities;
  const share = (100 * rounding.relativeToRange).toPrecision(2);
  return `${perplexities}; rounding to ${rounding.dtype} moves the logits by at most ${share} % of their range`;
}

export interface LogitDifference {
  /** Largest difference of any logit. */
  maximum: number;
  /** The same as a share of the range (largest minus smallest) of the first model's logits. */
  relativeToRange: number;
}

/** How far logits of two models for one window lie apart. */
export function logitDifference(expected: Float32Array, received: Float32Array): LogitDifference {
  let maximum = 0;
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < expected.length; i++) {
    maximum = Math.max(maximum, Math.abs(expected[i]! - received[i]!));
    lowest = Math.min(lowest, expected[i]!);
    highest = Math.max(highest, expected[i]!);
  }
  return { maximum, relativeToRange: highest > lowest ? maximum / (highest - lowest) : 0 };
}
