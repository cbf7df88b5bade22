/**
 * Moves label positions apart until neighbours are `gap` apart and all lie within [lowest, highest], keeping their order
 * and moving them as little as one downward and one upward pass allow. Positions come in ascending order.
 */
export function spreadLabels(positions: readonly number[], gap: number, lowest: number, highest: number): number[] {
  const spread = [...positions];
  for (let index = 0; index < spread.length; index++) {
    spread[index] = Math.max(spread[index]!, index === 0 ? lowest : spread[index - 1]! + gap);
  }
  for (let index = spread.length - 1; index >= 0; index--) {
    spread[index] = Math.min(spread[index]!, index === spread.length - 1 ? highest : spread[index + 1]! - gap);
  }
  return spread;
}
