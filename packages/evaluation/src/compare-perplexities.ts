import { KvlrError, type Measurement, type WindowScores } from '@kvlr/core';
import { estimateMean } from './estimate-mean.ts';
import { exponentiate } from './exponentiate.ts';

/** How two models do against each other on the same windows. */
export interface PairedComparison {
  /** Perplexity of the first over that of the second. */
  perplexityRatio: Measurement;
  /**
   * True where the mean difference of the logarithms is less than two of its standard errors from zero, so that the order of
   * the two is not established; undefined where the windows are too few for a standard error.
   */
  withinNoise: boolean | undefined;
}

/**
 * Perplexity of one model over that of another, paired over windows: the difference of the two losses is taken window by
 * window, so that what is hard for both models adds no uncertainty. The standard error is that of `estimateMean`, pooled
 * within sources of text, carried over to the ratio by the delta method.
 *
 * @param tokensPerWindow Predicted tokens of each window.
 * @throws KvlrError 'invalid-argument' when the two were not judged on windows of the same sources in the same order.
 */
export function comparePerplexities(
  first: WindowScores,
  second: WindowScores,
  tokensPerWindow: number,
): PairedComparison {
  if (first.sources.length === 0 || first.sources.join('\n') !== second.sources.join('\n')) {
    throw new KvlrError('invalid-argument', {
      message: `comparePerplexities: expected two models judged on the same windows, got ${first.sources.length} and ${second.sources.length} windows of other sources or none`,
      hint: 'Judge both on the same texts with the same settings.',
      data: { first: first.sources, second: second.sources },
    });
  }
  const differences = first.negativeLogLikelihoods.map((loss, window) => ({
    source: first.sources[window]!,
    mean: loss - second.negativeLogLikelihoods[window]!,
  }));
  const difference = estimateMean(differences, tokensPerWindow);
  const { value, standardError } = difference;
  return {
    perplexityRatio: exponentiate(difference),
    withinNoise: standardError === undefined ? undefined : Math.abs(value) < 2 * standardError,
  };
}
