import {
  budgetPolicies,
  type CompressionMethod,
  readAttentionWeights,
  resolveMethod,
  spreadBudget,
} from '@kvlr/compression';
import type { ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { resolveKeyValueHeads } from '../recipe/resolve-key-value-heads.ts';
import { budgetFrame, type CacheBudget } from './cache-budget.ts';

/**
 * How much each layer would keep, for a dry run: known for the budgets that shapes or weights alone decide. Undefined where
 * statistics or measurements decide, and for policies of the caller's own, which may ask for either.
 *
 * @param ownMethod Replaces the method that the recipe names.
 */
export async function foreseeBudget(
  model: ModelSource,
  recipe: Recipe,
  ownMethod?: CompressionMethod,
): Promise<CacheBudget | undefined> {
  const { policy } = recipe.budget;
  const named = Object.hasOwn(budgetPolicies, policy) ? budgetPolicies[policy] : undefined;
  if (named === undefined || named.needs === 'statistics' || named.needs === 'measurement') return undefined;
  const method = ownMethod ?? resolveMethod(recipe.method);
  const frame = budgetFrame(model.shape, method, resolveKeyValueHeads(model.shape, recipe.keyValueHeads));
  const weights = (layer: number) => readAttentionWeights(model, layer);
  return {
    unit: frame.unit,
    layers: await spreadBudget(named.policy, { ...frame, statistics: undefined, weights }, policy),
  };
}
