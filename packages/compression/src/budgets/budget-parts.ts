import type { BudgetRequest, BudgetSide, LayerBudget } from '@kvlr/core';

/** What a policy decides in one piece: a layer's keys and values together (heads), or one of them (ranks). */
export interface BudgetPart {
  layer: number;
  sides: readonly BudgetSide[];
  /** Counts to choose from, ascending; the last loses nothing. */
  candidates: readonly number[];
}

/** The parts of a budget, layer by layer. */
export function budgetParts({ shape, unit, candidates }: BudgetRequest): BudgetPart[] {
  const layers = Array.from({ length: shape.numLayers }, (_, layer) => layer);
  if (unit === 'heads')
    return layers.map((layer) => ({ layer, sides: ['keys', 'values'] as const, candidates: candidates.keys }));
  const sides: readonly BudgetSide[] = ['keys', 'values'];
  return layers.flatMap((layer) => sides.map((side) => ({ layer, sides: [side], candidates: candidates[side] })));
}

/** The budget of each layer from one count per part. */
export function assembleBudgets(parts: readonly BudgetPart[], counts: readonly number[]): LayerBudget[] {
  const budgets: LayerBudget[] = [];
  parts.forEach(({ layer, sides }, index) => {
    const budget = budgets[layer] ?? { keys: 0, values: 0 };
    for (const side of sides) budget[side] = counts[index]!;
    budgets[layer] = budget;
  });
  return budgets;
}

/** Everything that the source keeps. */
export function fullBudget({ candidates }: BudgetRequest): LayerBudget {
  return { keys: candidates.keys.at(-1)!, values: candidates.values.at(-1)! };
}
