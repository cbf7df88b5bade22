/**
 * Tokens that each slot may keep, `total` in all: at least `least` and at most what it holds, and in between as the weights say.
 * Where the weights are all 0, alike.
 *
 * @param held Tokens of each slot.
 */
export function spreadBudget(
  weights: readonly number[],
  total: number,
  least: number,
  held: readonly number[],
): number[] {
  const budgets = held.map((tokens) => Math.min(tokens, least));
  const sum = (numbers: readonly number[]) => numbers.reduce((of, each) => of + each, 0);
  const positive = weights.some((weight) => weight > 0);
  const weightOf = (slot: number) => (positive ? weights[slot]! : 1);
  let left = Math.min(total, sum(held)) - sum(budgets);
  while (left > 0) {
    const open = budgets.flatMap((budget, slot) => (budget < held[slot]! ? [slot] : []));
    const weighing = open.filter((slot) => weightOf(slot) > 0);
    const slots = weighing.length > 0 ? weighing : open;
    const share = (slot: number) =>
      weighing.length > 0 ? weightOf(slot) / sum(weighing.map(weightOf)) : 1 / open.length;
    const parts = slots.map((slot) => Math.min(held[slot]! - budgets[slot]!, Math.floor(left * share(slot))));
    const given = sum(parts);
    if (given === 0) {
      // Less than one token for each: the heaviest slots first.
      const order = [...slots].sort((a, b) => weightOf(b) - weightOf(a) || a - b);
      for (const slot of order.slice(0, left)) budgets[slot]!++;
      left -= Math.min(left, order.length);
    } else {
      slots.forEach((slot, i) => {
        budgets[slot]! += parts[i]!;
      });
      left -= given;
    }
  }
  return budgets;
}
