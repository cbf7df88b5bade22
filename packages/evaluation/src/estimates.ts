import { KvlrError, type Measurement, type WindowScores } from '@kvlr/core';

/** The mean over one window's tokens of some quantity, and the source of text the window belongs to. */
export interface WindowMean {
  source: string;
  mean: number;
}

/**
 * Mean over windows of equal length, and its standard error. The mix of sources is part of the benchmark, so the error counts
 * the scatter of windows within their source only, pooled over sources: s^2 = sum (m_w - mean of its source)^2 / (W - sources),
 * error = s / sqrt(W). With one source this is the ordinary standard error. Undefined when W does not exceed the sources.
 *
 * @param windows At least one window.
 * @param tokensPerWindow Tokens behind each window's mean.
 */
export function estimateMean(windows: readonly WindowMean[], tokensPerWindow: number): Measurement {
  const bySource = new Map<string, number[]>();
  for (const { source, mean } of windows) {
    const means = bySource.get(source);
    if (means) means.push(mean);
    else bySource.set(source, [mean]);
  }
  let total = 0;
  let squares = 0;
  for (const means of bySource.values()) {
    const sum = means.reduce((partial, mean) => partial + mean, 0);
    const center = sum / means.length;
    for (const mean of means) squares += (mean - center) ** 2;
    total += sum;
  }
  const freedom = windows.length - bySource.size;
  return {
    value: total / windows.length,
    standardError: freedom > 0 ? Math.sqrt(squares / freedom / windows.length) : undefined,
    tokenCount: windows.length * tokensPerWindow,
  };
}

/** exp of a measured mean, with the standard error exp(mean) * error (delta method): perplexities and their ratios. */
export function exponentiate(mean: Measurement): Measurement {
  // JSON has no infinity, and a perplexity beyond this one means nothing else.
  const finite = (value: number) => Math.min(value, Number.MAX_VALUE);
  const value = finite(Math.exp(mean.value));
  const { standardError } = mean;
  return { ...mean, value, standardError: standardError === undefined ? undefined : finite(value * standardError) };
}

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
 * @throws KvlrError 'invalid-argument' when the two were not evaluated on windows of the same sources in the same order.
 */
export function comparePerplexities(
  first: WindowScores,
  second: WindowScores,
  tokensPerWindow: number,
): PairedComparison {
  if (first.sources.length === 0 || first.sources.join('\n') !== second.sources.join('\n')) {
    throw new KvlrError('invalid-argument', {
      message: `expected two models evaluated on the same windows, got ${first.sources.length} and ${second.sources.length} windows of other sources or none`,
      hint: 'Evaluate both on the same texts with the same settings.',
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
