import {
  type CacheSize,
  type EvaluationResult,
  KvlrError,
  type LogitSource,
  mapInOrder,
  type RunControl,
  type WindowScores,
} from '@kvlr/core';
import { compareLogits, type LogitComparison } from './compare-logits.ts';
import { estimateMean } from './estimate-mean.ts';
import type { EvaluationWindow } from './evaluation-window.ts';
import { exponentiate } from './exponentiate.ts';
import { scoreLogits } from './score-logits.ts';
import { validateWindows } from './validate-windows.ts';

export interface EvaluationRequest extends RunControl {
  model: LogitSource;
  modelId: string;
  /** The original model. `cachedLogits` spares running it again for every candidate. */
  base?: LogitSource;
  baseModelId?: string;
  /** Windows of equal length, at least 2 tokens, in any order. */
  windows: readonly EvaluationWindow[];
  /** Size of the model's cache, from core's `cacheSize`. */
  cache: CacheSize;
}

interface WindowScore {
  source: string;
  negativeLogLikelihood: number;
  /** Present when there is a base. */
  comparison?: LogitComparison;
}

/**
 * Perplexity = exp(mean negative log-likelihood), overall and by source of text; against a base also the mean KL(base || model)
 * per token, the share of equal first choices and the paired perplexity ratio. Standard errors are over windows (`estimateMean`),
 * those of perplexities by the delta method.
 *
 * Throws 'text-empty', 'text-too-short', 'invalid-argument', 'tokenizer-mismatch' (windows or vocabularies that do not fit),
 * 'tensor-shape' and 'non-finite' (logits), 'aborted'.
 */
export async function evaluate(request: EvaluationRequest): Promise<EvaluationResult> {
  const { windows, model, base } = request;
  const windowLength = validateWindows(windows, model, base);
  const scores = await mapInOrder({
    items: windows,
    concurrency: Math.min(model.concurrency ?? 1, base?.concurrency ?? Number.POSITIVE_INFINITY),
    signal: request.signal,
    work: (window) => scoreWindow(request, window),
    onResult: (_, index) =>
      request.onEvent?.({
        type: 'progress',
        stage: 'evaluation',
        completed: index + 1,
        total: windows.length,
        unit: 'windows',
        detail: windows[index]!.source,
      }),
  });

  const tokensPerWindow = windowLength - 1;
  const losses = scores.map(({ source, negativeLogLikelihood }) => ({
    source,
    mean: negativeLogLikelihood / tokensPerWindow,
  }));
  const sources = [...new Set(windows.map((window) => window.source))];
  const perplexityBySource = Object.fromEntries(
    sources.map((source) => {
      const lossesOfSource = losses.filter((loss) => loss.source === source);
      return [source, exponentiate(estimateMean(lossesOfSource, tokensPerWindow))] as const;
    }),
  );
  return {
    modelId: request.modelId,
    tokenCount: windows.length * tokensPerWindow,
    windowCount: windows.length,
    windowLength,
    perplexity: exponentiate(estimateMean(losses, tokensPerWindow)),
    perplexityBySource,
    againstBase: base && summariseComparison(scores, request.baseModelId ?? 'base', tokensPerWindow),
    windows: listScores(scores, tokensPerWindow),
    cache: request.cache,
  };
}

function listScores(scores: readonly WindowScore[], tokensPerWindow: number): WindowScores {
  const comparisons = scores.flatMap(({ comparison }) => (comparison ? [comparison] : []));
  return {
    sources: scores.map(({ source }) => source),
    negativeLogLikelihoods: scores.map((score) => score.negativeLogLikelihood / tokensPerWindow),
    ...(comparisons.length > 0 && {
      klDivergences: comparisons.map((comparison) => comparison.klDivergence / tokensPerWindow),
      topOneAgreements: comparisons.map((comparison) => comparison.topOneAgreements / tokensPerWindow),
    }),
  };
}

function summariseComparison(
  scores: readonly WindowScore[],
  baseModelId: string,
  tokensPerWindow: number,
): EvaluationResult['againstBase'] {
  const estimate = (read: (comparison: LogitComparison) => number) => {
    const means = scores.flatMap(({ source, comparison }) =>
      comparison ? [{ source, mean: read(comparison) / tokensPerWindow }] : [],
    );
    return estimateMean(means, tokensPerWindow);
  };
  return {
    baseModelId,
    basePerplexity: exponentiate(estimate((window) => window.baseNegativeLogLikelihood)),
    klDivergence: estimate((window) => window.klDivergence),
    topOneAgreement: estimate((window) => window.topOneAgreements),
    perplexityRatio: exponentiate(
      estimate((window) => window.negativeLogLikelihood - window.baseNegativeLogLikelihood),
    ),
  };
}

async function scoreWindow(request: EvaluationRequest, window: EvaluationWindow): Promise<WindowScore> {
  const { model, base } = request;
  const { source, tokenIds } = window;
  const inputs = tokenIds.slice(0, -1);
  const targets = tokenIds.slice(1);
  const logits = await readLogits(model, inputs);
  if (!base) {
    const negativeLogLikelihood = scoreLogits(logits, targets, model.vocabSize);
    requireFinite(negativeLogLikelihood, request.modelId, window);
    return { source, negativeLogLikelihood };
  }
  const baseLogits = await readLogits(base, inputs);
  const comparison = compareLogits(logits, baseLogits, targets, model.vocabSize);
  requireFinite(comparison.baseNegativeLogLikelihood, request.baseModelId ?? 'base', window);
  requireFinite(comparison.negativeLogLikelihood, request.modelId, window);
  return { source, negativeLogLikelihood: comparison.negativeLogLikelihood, comparison };
}

async function readLogits(model: LogitSource, inputs: Int32Array): Promise<Float32Array> {
  const logits = await model.logits(inputs);
  const expected = inputs.length * model.vocabSize;
  if (logits.length !== expected) {
    throw new KvlrError('tensor-shape', {
      message: `evaluate: expected ${inputs.length} x ${model.vocabSize} = ${expected} logits, got ${logits.length}`,
      data: { expected, received: logits.length },
    });
  }
  return logits;
}

function requireFinite(value: number, modelId: string, window: EvaluationWindow): void {
  if (Number.isFinite(value)) return;
  throw new KvlrError('non-finite', {
    message: `evaluate: expected finite logits, got NaN or infinity from model ${modelId} in a window of ${window.source}`,
    hint: 'Check the weights of the model for NaN, and try another backend.',
    data: { modelId, source: window.source },
  });
}
