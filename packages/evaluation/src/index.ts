export { type CachedLogits, cachedLogits, type LogitCacheSettings } from './cached-logits.ts';
export {
  comparePerplexities,
  estimateMean,
  exponentiate,
  type PairedComparison,
  type WindowMean,
} from './estimates.ts';
export {
  type CacheBytes,
  type CompareLogits,
  cacheBytesByContext,
  type EvaluationRequest,
  type EvaluationWindow,
  evaluate,
} from './evaluate.ts';
export {
  fromHarnessJson,
  type HarnessResults,
  type HarnessSettings,
  type HarnessTaskMetrics,
  toHarnessJson,
} from './harness-json.ts';
export { compareLogits, type LogitComparison, scoreLogits } from './logits.ts';
export { mergeResults, type NamedResult } from './merge-results.ts';
