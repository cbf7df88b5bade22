import { type BudgetRequest, type LayerBudget, throwIfAborted } from '@kvlr/core';
import { assembleBudgets, type BudgetPart, budgetParts } from '../budget-parts.ts';
import { spreadTotal } from '../spread-total.ts';

/**
 * Spreads the total so that the sum of the losses is least, as if those of different parts added up. Keeping everything is
 * taken to lose nothing.
 *
 * @param lossOf Loss of a part at a count below its last.
 * @param thin Counts that are asked for, of all candidates of a part.
 */
export async function spreadLosses(
  request: BudgetRequest,
  lossOf: (part: BudgetPart, count: number) => Promise<number>,
  thin: (candidates: readonly number[]) => readonly number[] = (candidates) => candidates,
): Promise<LayerBudget[]> {
  const parts = budgetParts(request).map((part) => ({ ...part, candidates: thin(part.candidates) }));
  const steps = parts.reduce((sum, { candidates }) => sum + candidates.length - 1, 0);
  let completed = 0;
  const items = [];
  for (const part of parts) {
    const losses: number[] = [];
    for (const count of part.candidates.slice(0, -1)) {
      throwIfAborted(request.signal);
      losses.push(await lossOf(part, count));
      request.onProgress?.(++completed, steps);
    }
    items.push({ sizes: part.candidates.map((count) => count * part.sides.length), losses: [...losses, 0] });
  }
  const chosen = spreadTotal(items, request.total);
  return assembleBudgets(
    parts,
    chosen.map((choice, index) => parts[index]!.candidates[choice]!),
  );
}
