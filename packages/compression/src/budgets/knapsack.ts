import { KvlrError } from '@kvlr/core';

/** Something of which more or less may be kept: what each choice takes of the total, and what it loses. */
export interface KnapsackItem {
  /** Positive whole numbers, one a choice. */
  sizes: readonly number[];
  /** One a choice, any finite numbers. */
  losses: readonly number[];
}

/**
 * The multiple-choice knapsack: the choice of every item with the least sum of losses whose sizes come to at most `total`: the optimum, by dynamic programming
 * over the items and the total, in O(items x choices x total / greatest common divisor of the sizes).
 *
 * @param spend 'all' takes only choices that come to the total itself.
 * @returns Index of the choice of each item. Of choices that lose the same, the earlier one.
 * @throws KvlrError 'invalid-argument' when no choices come to the total, or a number is none.
 */
export function solveKnapsack(
  items: readonly KnapsackItem[],
  total: number,
  spend: 'all' | 'at-most' = 'at-most',
): number[] {
  requireItems(items, total);
  const unit = items.flatMap(({ sizes }) => sizes).reduce(greatestCommonDivisor, 0);
  const capacity = Math.floor(total / unit);
  // best[room]: least loss of the items so far within this room; choices[item][room]: how it was reached.
  let best = new Float64Array(capacity + 1);
  if (spend === 'all') best.fill(Number.POSITIVE_INFINITY, 1);
  const choices = items.map(({ sizes, losses }) => {
    const next = new Float64Array(capacity + 1).fill(Number.POSITIVE_INFINITY);
    const chosen = new Int32Array(capacity + 1).fill(-1);
    sizes.forEach((size, choice) => {
      const units = size / unit;
      for (let room = units; room <= capacity; room++) {
        const loss = best[room - units]! + losses[choice]!;
        if (loss < next[room]!) {
          next[room] = loss;
          chosen[room] = choice;
        }
      }
    });
    best = next;
    return chosen;
  });
  if (!Number.isFinite(best[capacity]!) || (spend === 'all' && total % unit !== 0))
    throw refuse('sizes that come to the total', 'none', total);
  let room = capacity;
  return items
    .map((item, index) => ({ item, chosen: choices[index]! }))
    .reverse()
    .map(({ item, chosen }) => {
      const choice = chosen[room]!;
      room -= item.sizes[choice]! / unit;
      return choice;
    })
    .reverse();
}

function requireItems(items: readonly KnapsackItem[], total: number): void {
  for (const { sizes, losses } of items) {
    if (
      sizes.length === 0 ||
      sizes.length !== losses.length ||
      !sizes.every((size) => Number.isInteger(size) && size > 0)
    )
      throw refuse(
        'a positive whole size and a loss for every choice',
        `${sizes.length} sizes, ${losses.length} losses`,
        total,
      );
    const wrong = losses.find((loss) => !Number.isFinite(loss));
    if (wrong !== undefined) throw refuse('finite losses', wrong, total);
  }
  const least = items.reduce((sum, { sizes }) => sum + Math.min(...sizes), 0);
  if (least > total) throw refuse(`a total of at least ${least}`, total, total);
}

function refuse(expected: string, received: unknown, total: number): KvlrError {
  return new KvlrError('invalid-argument', {
    message: `expected ${expected}, got ${received}`,
    hint: 'Raise the total, or offer other sizes.',
    data: { total },
  });
}

function greatestCommonDivisor(left: number, right: number): number {
  return right === 0 ? left : greatestCommonDivisor(right, left % right);
}
