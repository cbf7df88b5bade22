import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type KnapsackItem, solveKnapsack } from './knapsack.ts';

/** Every choice of every item, one after the other. */
function* everyChoice(items: readonly KnapsackItem[]): Generator<number[]> {
  const [first, ...rest] = items;
  if (first === undefined) {
    yield [];
    return;
  }
  for (let choice = 0; choice < first.sizes.length; choice++) {
    for (const others of everyChoice(rest)) yield [choice, ...others];
  }
}

const sumOf = (items: readonly KnapsackItem[], choices: readonly number[], field: keyof KnapsackItem) =>
  choices.reduce((sum, choice, index) => sum + items[index]![field][choice]!, 0);

const item = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 100 })), { minLength: 1, maxLength: 4 })
  .map((choices): KnapsackItem => ({ sizes: choices.map(([size]) => size), losses: choices.map(([, loss]) => loss) }));

describe('solveKnapsack', () => {
  it('loses no more than any other choice within the total', () => {
    fc.assert(
      fc.property(fc.array(item, { minLength: 1, maxLength: 4 }), fc.integer({ min: 4, max: 32 }), (items, total) => {
        const fitting = [...everyChoice(items)].filter((choices) => sumOf(items, choices, 'sizes') <= total);
        fc.pre(fitting.length > 0);
        const chosen = solveKnapsack(items, total);
        expect(sumOf(items, chosen, 'sizes')).toBeLessThanOrEqual(total);
        const least = Math.min(...fitting.map((choices) => sumOf(items, choices, 'losses')));
        expect(sumOf(items, chosen, 'losses')).toBe(least);
      }),
    );
  });

  it('counts in the largest unit that divides all sizes', () => {
    const items = Array.from({ length: 64 }, () => ({ sizes: [2 ** 40, 2 ** 41], losses: [1, 0] }));
    const chosen = solveKnapsack(items, 96 * 2 ** 40 + 5);
    expect(chosen.filter((choice) => choice === 1)).toHaveLength(32);
  });

  it('spends all of it when told to', () => {
    const items = [1, 2].map((weight) => ({ sizes: [2, 4, 6], losses: [0, weight, weight] }));
    expect(solveKnapsack(items, 8)).toEqual([0, 0]);
    expect(solveKnapsack(items, 8, 'all')).toEqual([2, 0]);
    expect(() => solveKnapsack(items, 7, 'all')).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
    expect(() => solveKnapsack(items, 14, 'all')).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });

  it.each<[string, KnapsackItem[], number]>([
    ['a total that is too small', [{ sizes: [2, 3], losses: [1, 0] }], 1],
    ['a size of nothing', [{ sizes: [0, 3], losses: [1, 0] }], 9],
    ['a loss that is none', [{ sizes: [1, 3], losses: [Number.NaN, 0] }], 9],
    ['a choice without loss', [{ sizes: [1, 3], losses: [1] }], 9],
  ])('refuses %s', (_, items, total) => {
    expect(() => solveKnapsack(items, total)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });
});
