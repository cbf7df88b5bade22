import type { Measurement } from '@kvlr/core';

/** exp of a measured mean, with the standard error exp(mean) * error (delta method): perplexities and their ratios. */
export function exponentiate(mean: Measurement): Measurement {
  const value = Math.exp(mean.value);
  return { ...mean, value, standardError: mean.standardError === undefined ? undefined : value * mean.standardError };
}
