import type { Measurement } from '@kvlr/core';

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
