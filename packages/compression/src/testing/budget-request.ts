import type { BudgetRequest, ModelSource } from '@kvlr/core';
import { readAttentionWeights } from '../source-layer.ts';

/** A request over the KV heads of a model: uniform `keep` heads, candidates the divisors of its own count. */
export function headsRequest(model: ModelSource, keep: number, changes: Partial<BudgetRequest> = {}): BudgetRequest {
  const { shape } = model;
  const divisors = Array.from({ length: shape.numKeyValueHeads }, (_, index) => index + 1).filter(
    (count) => shape.numKeyValueHeads % count === 0,
  );
  return {
    shape,
    unit: 'heads',
    uniform: { keys: keep, values: keep },
    total: 2 * keep * shape.numLayers,
    candidates: { keys: divisors, values: divisors },
    statistics: undefined,
    weights: (layer) => readAttentionWeights(model, layer),
    ...changes,
  };
}
