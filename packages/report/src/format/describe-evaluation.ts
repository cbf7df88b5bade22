import type { EvaluationResult } from '@kvlr/core';
import { formatCount } from './format-number.ts';

/** What stands behind the figures: "36,864 tokens of sotu, moby-dick, kjv in 72 windows of 513; ± is one standard error." */
export function describeEvaluation(evaluation: EvaluationResult): string {
  const sources = Object.keys(evaluation.perplexityBySource);
  const of = sources.length > 0 ? ` of ${sources.join(', ')}` : '';
  const errors = evaluation.perplexity.standardError === undefined ? '.' : '; ± is one standard error over windows.';
  return (
    `Measured on ${formatCount(evaluation.tokenCount)} tokens${of}, in ${formatCount(evaluation.windowCount)} windows of ` +
    `${formatCount(evaluation.windowLength)}${errors}`
  );
}

/** What the cache figures count: "Cache sizes are exact, at 2 bytes per number." */
export function describeCacheElement(bytesPerElement: number): string {
  return `Cache sizes are exact, at ${bytesPerElement} ${bytesPerElement === 1 ? 'byte' : 'bytes'} per number.`;
}
