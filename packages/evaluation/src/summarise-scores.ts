import type { CacheSize, EvaluationResult, WindowScores } from '@kvlr/core';
import { estimateMean, exponentiate } from './estimates.ts';

/** Of what the scores of windows are. */
export interface ScoredModel {
  modelId: string;
  /** Against which model, where the scores hold a comparison. */
  baseModelId?: string | undefined;
  /** Tokens of a window; all but the first are predicted. */
  windowLength: number;
  cache: CacheSize;
}

/**
 * Perplexity = exp(mean negative log-likelihood), overall and by source of text; against a base also the mean KL(base || model)
 * per token, the share of equal first choices and the paired perplexity ratio. Standard errors are over windows (`estimateMean`),
 * those of perplexities by the delta method.
 *
 * @param scores At least one window.
 */
export function summariseScores(scores: WindowScores, about: ScoredModel): EvaluationResult {
  const { modelId, baseModelId, windowLength, cache } = about;
  const { sources } = scores;
  const tokensPerWindow = windowLength - 1;
  const windowsOf = (means: readonly number[]) => means.map((mean, index) => ({ source: sources[index]!, mean }));
  const estimate = (means: readonly number[]) => estimateMean(windowsOf(means), tokensPerWindow);
  const losses = windowsOf(scores.negativeLogLikelihoods);
  const ofSource = (source: string) => losses.filter((loss) => loss.source === source);
  const { baseNegativeLogLikelihoods, klDivergences, topOneAgreements } = scores;
  const isCompared = baseNegativeLogLikelihoods && klDivergences && topOneAgreements;
  return {
    modelId,
    tokenCount: sources.length * tokensPerWindow,
    windowCount: sources.length,
    windowLength,
    perplexity: exponentiate(estimateMean(losses, tokensPerWindow)),
    perplexityBySource: Object.fromEntries(
      [...new Set(sources)].map((source) => [source, exponentiate(estimateMean(ofSource(source), tokensPerWindow))]),
    ),
    againstBase:
      baseModelId === undefined || !isCompared
        ? undefined
        : {
            baseModelId,
            basePerplexity: exponentiate(estimate(baseNegativeLogLikelihoods)),
            klDivergence: estimate(klDivergences),
            topOneAgreement: estimate(topOneAgreements),
            perplexityRatio: exponentiate(
              estimate(losses.map(({ mean }, index) => mean - baseNegativeLogLikelihoods[index]!)),
            ),
          },
    windows: scores,
    cache,
  };
}
