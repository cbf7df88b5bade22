import { type CompressionMethod, rankCandidates } from '@kvlr/compression';
import type { BudgetRequest, DecoderShape, LayerBudget } from '@kvlr/core';
import { divisorsOf } from '../recipe/resolve-key-value-heads.ts';

/** How much of its cache each layer keeps; see `BudgetRequest.unit`. */
export interface CacheBudget {
  unit: BudgetRequest['unit'];
  layers: LayerBudget[];
}

/** What the total is and what layers may keep, before any policy is asked. */
export type BudgetFrame = Pick<BudgetRequest, 'shape' | 'unit' | 'uniform' | 'total' | 'candidates'>;

/**
 * Methods of whole heads keep a number of KV heads that divides the source's, and so its query heads; methods with free ranks
 * keep numbers per token.
 */
export function budgetFrame(shape: DecoderShape, method: CompressionMethod, keyValueHeads: number): BudgetFrame {
  const ranks = method.freeRanks !== undefined;
  const count = ranks ? keyValueHeads * shape.headDim : keyValueHeads;
  const counts = ranks ? rankCandidates(shape, keyValueHeads) : divisorsOf(shape.numKeyValueHeads);
  return {
    shape,
    unit: ranks ? 'ranks' : 'heads',
    uniform: { keys: count, values: count },
    total: 2 * count * shape.numLayers,
    candidates: { keys: counts, values: counts },
  };
}

/** True unless all layers keep the same, and as much of keys as of values. */
export function differsByLayer({ layers }: CacheBudget): boolean {
  return layers.some(({ keys, values }) => keys !== layers[0]!.keys || values !== layers[0]!.keys);
}

/** For people: "KV heads by layer: 4, 2, 2" or "Numbers per token by layer: keys 64, 32; values 64, 96". */
export function describeBudget({ unit, layers }: CacheBudget): string {
  const keys = layers.map((layer) => layer.keys).join(', ');
  if (unit === 'heads') return `KV heads by layer: ${keys}`;
  return `Numbers per token by layer: keys ${keys}; values ${layers.map((layer) => layer.values).join(', ')}`;
}
