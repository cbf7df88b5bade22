import { type BudgetPolicy, cacheWidth } from '@kvlr/core';
import type { RecipeInput } from '@kvlr/core/schemas';
import { describe, expect, it } from 'vitest';
import { compare } from './compare/compare.ts';
import { methodRows } from './compare/rows.ts';
import { type CompressionRequest, compress } from './compress.ts';
import { artefactNames, MemoryRunStore } from './run/store.ts';
import { readJson, skippedStages, stopAt, tinyRecipe, tinyRun } from './testing/tiny-run.ts';

const budgetSettings = { windows: 2, windowLength: 17 };

async function request(recipe: RecipeInput, changes: Partial<CompressionRequest> = {}): Promise<CompressionRequest> {
  const run = await tinyRun({ numLayers: 3 });
  return { ...run, recipe: { ...tinyRecipe, recovery: { preset: 'none' }, ...recipe }, ...changes };
}

/** The first layer keeps everything and the last as little as it may. */
const falling: BudgetPolicy = () => [4, 1, 1];

describe('compress with a budget', () => {
  it('gives every layer its own KV heads, through reconstruction, within the total', async () => {
    const store = new MemoryRunStore();
    const { recovery } = tinyRecipe;
    const budget = { policy: falling, hash: 'falling' };
    const { model, report, evaluation } = await compress(await request({ recovery }, { store, budget }));
    expect(model.shape.layers.map(({ cache: { keySlots, valueSlots } }) => [keySlots, valueSlots])).toEqual([
      [4, 4],
      [1, 1],
      [1, 1],
    ]);
    expect(evaluation!.result.cache.bytesPerToken).toBe(6 * 2 * 8 * 4);
    const groups: number[][][] = await readJson(store, artefactNames.grouping);
    expect(groups.map((ofLayer) => ofLayer.length)).toEqual([4, 1, 1]);
    expect(report.notes?.join(' ')).toMatch(/KV heads by layer: 4, 1, 1.*LlamaForCausalLM/);
    expect(report.title).toContain('4 to 2 KV heads on average');
  });

  it('measures each layer alone, keeps what it measured, and goes on where it was cut', async () => {
    const store = new MemoryRunStore();
    const recipe = { budget: { policy: 'measured', ...budgetSettings } };
    const stopped = await request(recipe, { store, ...stopAt('budget', 3) });
    await expect(compress(stopped)).rejects.toMatchObject({ code: 'aborted' });
    const early: Record<string, number> = await readJson(store, artefactNames.budgetLosses);
    expect(Object.keys(early)).toHaveLength(3);

    const { budget } = await compress(await request(recipe, { store }));
    const losses: Record<string, number> = await readJson(store, artefactNames.budgetLosses);
    // Three layers, 1 and 2 of 4 heads.
    expect(Object.keys(losses)).toHaveLength(6);
    expect(losses).toMatchObject(early);
    expect(Object.values(losses).every((loss) => loss > 0)).toBe(true);
    expect(budget.layers.reduce((sum, { keys }) => sum + keys, 0)).toBeLessThanOrEqual(6);

    expect((await compress(await request(recipe, { store }))).budget).toEqual(budget);

    // Another policy is told what was measured for this one.
    const told: number[] = [];
    const curious: BudgetPolicy = async ({ measuredLoss }) => {
      for (const layer of [0, 1, 2]) told.push(await measuredLoss!(layer, { keys: 1, values: 1 }));
      return [2, 2, 2];
    };
    await compress(await request(recipe, { store, budget: { policy: curious, hash: 'curious' } }));
    const ofOneHead = Object.entries(losses).filter(([name]) => name.includes(', 1 keys'));
    expect(told).toEqual(ofOneHead.map(([, loss]) => loss));
  });

  it('sets keys and values apart in the latent layout', async () => {
    const layers = [
      { keys: 28, values: 16 },
      { keys: 8, values: 20 },
      { keys: 12, values: 12 },
    ];
    const own = { policy: () => layers, hash: 'apart' };
    const { model, report, evaluation } = await compress(await request({ method: 'svd-a' }, { budget: own }));
    const widths = model.shape.layers.map(({ cache: { keySlots, keySlotWidth, valueSlots, valueSlotWidth } }) => ({
      keys: keySlots * keySlotWidth,
      values: valueSlots * valueSlotWidth,
    }));
    expect(widths).toEqual(layers);
    expect(evaluation!.result.cache.bytesPerToken).toBe(4 * 96);
    expect(report.notes?.join(' ')).toContain('Numbers per token by layer: keys 28, 8, 12; values 16, 20, 12');
  });

  it('spreads ranks by lost energy within the total', async () => {
    const { model, budget } = await compress(await request({ method: 'palu', budget: { policy: 'lost-energy' } }));
    expect(budget.unit).toBe('ranks');
    expect(
      model.shape.layers.map(({ cache }) => cacheWidth(cache)).reduce((sum, width) => sum + width),
    ).toBeLessThanOrEqual(3 * 32);
  });

  it('leaves everything as it was under the uniform budget, and asks again when the policy changes', async () => {
    const store = new MemoryRunStore();
    const plain = await compress(await request({}, { store }));
    expect(plain.stages.map(({ stage }) => stage)).not.toContain('budget');
    expect(plain.budget.layers).toEqual(Array(3).fill({ keys: 2, values: 2 }));
    const skipped = async (changes: Partial<CompressionRequest>, recipe: RecipeInput = {}) => {
      const { stages } = await compress(await request(recipe, { store, ...changes }));
      return skippedStages(stages);
    };
    expect(await skipped({}, { budget: { policy: 'uniform', windows: 3 } })).toContain('evaluation');
    const mine = { policy: falling, hash: 'one' };
    expect(await skipped({ budget: mine })).toEqual(['statistics']);
    expect(await skipped({ budget: mine })).toContain('evaluation');
    expect(await skipped({ budget: { ...mine, hash: 'two' } })).toEqual(['statistics']);
  });

  it('names the policy that answers nonsense', async () => {
    const budget = { policy: () => [4, 4, 4], hash: 'greedy' };
    const recipe = { budget: { policy: './greedy.mjs' } };
    await expect(compress(await request(recipe, { budget }))).rejects.toMatchObject({
      code: 'budget-invalid',
      message: './greedy.mjs: expected keys and values of all layers to come to at most 12, got 24',
    });
  });

  it('holds for the row of the recipe in comparisons, which say so', async () => {
    const { model, recipe, texts, runtime } = await request({ budget: { policy: 'progressive' } });
    const rowsOf = methodRows({ model, recipe, methods: ['mean-pool'], ratios: [0.5] });
    const { rows, notes } = await compare({ model, recipe, texts, runtime, rows: rowsOf });
    expect(rows[0]).toMatchObject({ method: 'mean-pool', layout: 'stock' });
    expect(rows.at(-1)!.title).toMatch(/^Recipe: .*, progressive budget$/);
    expect(notes?.join(' ')).toContain('The budget of the recipe holds for its own rows');
  });
});
