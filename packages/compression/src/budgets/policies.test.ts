import { type BudgetRequest, type BudgetSide, createNormalRandom, type LayerBudget } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { headsRequest } from '../testing/budget-request.ts';
import { budgetPolicies, conditionNumber, scheduleCounts } from './policies.ts';
import { spreadBudget } from './spread-budget.ts';

const model = createTinyModel({ numLayers: 4, numAttentionHeads: 8, numKeyValueHeads: 8, seed: 3 });

const spread = (name: string, request: BudgetRequest) => spreadBudget(budgetPolicies.get(name).policy, request, name);
const keysOf = (budgets: readonly LayerBudget[]) => budgets.map(({ keys }) => keys);

describe('budgets', () => {
  it.each(budgetPolicies.names)('%s keeps as much as the uniform one', async (name) => {
    const request = headsRequest(model, 4, {
      lostEnergy: async (layer, _, count) => (layer + 1) / count,
      measuredLoss: async (layer, { keys }) => (layer + 1) / keys,
    });
    const budgets = await spread(name, request);
    expect(budgets).toHaveLength(4);
    expect(budgets.reduce((sum, { keys, values }) => sum + keys + values, 0)).toBe(request.total);
  });

  it('keep the same everywhere when every layer is alike', async () => {
    const alike = { lostEnergy: async (_: number, __: BudgetSide, count: number) => 1 / count };
    expect(await spread('lost-energy', headsRequest(model, 2, alike))).toEqual(Array(4).fill({ keys: 2, values: 2 }));
  });

  it('put the measured budget where the loss is', async () => {
    const asked: [number, LayerBudget][] = [];
    const request = headsRequest(model, 2, {
      measuredLoss: async (layer, budget) => {
        asked.push([layer, budget]);
        return (layer === 2 ? 10 : 0.1) / budget.keys;
      },
    });
    expect(keysOf(await spread('measured', request))).toEqual([2, 1, 4, 1]);
    // Everything is known to lose nothing; the rest is measured once, layer by layer.
    expect(asked).toHaveLength(4 * 3);
    expect(asked.every(([, { keys, values }]) => keys === values && keys < 8)).toBe(true);
  });

  it('measure keys with all values, and values with all keys, where they stand apart', async () => {
    const asked: LayerBudget[] = [];
    const ranks = [4, 8, 16, 24, 32, 64];
    const request = headsRequest(model, 2, {
      unit: 'ranks',
      uniform: { keys: 16, values: 16 },
      total: 4 * 32,
      candidates: { keys: ranks, values: ranks },
      measuredLoss: async (_, budget) => {
        asked.push(budget);
        return budget.keys < 64 ? 1 / budget.keys ** 2 : 4 / budget.values;
      },
    });
    const budgets = await spread('measured', request);
    expect(asked.every(({ keys, values }) => Math.max(keys, values) === 64)).toBe(true);
    expect(budgets.every(({ keys, values }) => keys < values)).toBe(true);
  });

  it('spread lost energy between keys and values', async () => {
    const ranks = [8, 16, 24, 64];
    const request = headsRequest(model, 2, {
      unit: 'ranks',
      uniform: { keys: 16, values: 16 },
      total: 4 * 32,
      candidates: { keys: ranks, values: ranks },
      lostEnergy: async (_, side, count) => (side === 'keys' ? Math.exp(-count) : (1 - count / 64) ** 2),
    });
    expect(await spread('lost-energy', request)).toEqual(Array(4).fill({ keys: 8, values: 24 }));
  });

  it.each(['measured', 'lost-energy'])('%s says what it lacks', async (name) => {
    await expect(spread(name, headsRequest(model, 4))).rejects.toMatchObject({ code: 'budget-invalid' });
  });
});

describe('progressive budget', () => {
  it('keeps more in shallow layers than in deep ones', async () => {
    const keys = keysOf(await spread('progressive', headsRequest(model, 4)));
    expect(keys[0]).toBe(8);
    expect(keys).toEqual([...keys].sort((left, right) => right - left));
  });

  it('falls with the logarithm of the cumulative condition number, between everything and what is left', () => {
    // By hand: places 0, .5, 1; everything is 8, and a mean of 4 leaves 0 for the last layer.
    expect(scheduleCounts([9, 6, 3], 4, 0, 8)).toEqual([8, 4, 0]);
    // A last layer of 1 takes the first down to 7.
    expect(scheduleCounts([9, 6, 3], 4, 1, 8)).toEqual([7, 4, 1]);
    const uneven = scheduleCounts([9, 8, 3], 4, 1, 8);
    expect(uneven.reduce((sum, count) => sum + count, 0)).toBeCloseTo(12, 12);
    expect((uneven[0]! - uneven[1]!) / (uneven[0]! - uneven[2]!)).toBeCloseTo(1 / 6, 12);
    expect(scheduleCounts([5, 5, 5], 4, 1, 8)).toEqual([4, 4, 4]);
  });

  it('reads condition numbers from singular values', () => {
    // diag(8, 2) between two rotations.
    const [c, s] = [Math.cos(0.3), Math.sin(0.3)];
    expect(conditionNumber(Float64Array.of(8 * c, -8 * s, 2 * s, 2 * c), 2, 2)).toBeCloseTo(4, 12);
    const normal = createNormalRandom(1);
    const row = Float64Array.from({ length: 6 }, normal);
    expect(conditionNumber(Float64Array.of(...row, ...row), 2, 6)).toBeCloseTo(1 / (6 * Number.EPSILON), -3);
    expect(conditionNumber(new Float64Array(4), 2, 2)).toBe(1);
  });
});

describe('spreadBudget', () => {
  const request = headsRequest(model, 4);

  it('takes plain counts, and waits for them', async () => {
    expect(await spreadBudget(async () => [8, 4, 2, 2], request)).toEqual(
      [8, 4, 2, 2].map((count) => ({ keys: count, values: count })),
    );
  });

  it.each<[string, () => unknown, string]>([
    [
      'an exception',
      () => {
        throw new Error('out of ideas');
      },
      './mine.mjs: expected 4 counts, got an exception: out of ideas',
    ],
    ['no list', () => 4, 'a list of 4 entries'],
    ['too few layers', () => [4, 4], 'got a list of 2'],
    [
      'a count that divides no heads',
      () => [4, 3, 4, 4],
      './mine.mjs, layer 1: expected KV heads to be one of 1, 2, 4, 8, got 3',
    ],
    ['nothing for a layer', () => [4, null, 4, 4], 'layer 1'],
    ['keys and values apart', () => [4, 4, { keys: 4, values: 2 }, 4], 'layer 2: expected as many keys as values'],
    ['more than the total', () => [8, 8, 8, 8], 'at most 32, got 64'],
  ])('refuses %s', async (_, policy, message) => {
    const work = spreadBudget(policy as () => number[], request, './mine.mjs');
    await expect(work).rejects.toMatchObject({ code: 'budget-invalid', message: expect.stringContaining(message) });
  });

  it('refuses a name that is none, saying which there are', () => {
    expect(() => budgetPolicies.get('fair')).toThrow(
      expect.objectContaining({ code: 'usage', message: expect.stringContaining('uniform, progressive') }),
    );
  });
});
