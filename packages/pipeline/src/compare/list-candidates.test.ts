import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { parseRecipe } from '../recipe/parse-recipe.ts';
import { bestRecipes } from './best-recipes.ts';
import { listCandidates, type WantedRows } from './list-candidates.ts';

const model = createTinyModel({ numAttentionHeads: 8, numKeyValueHeads: 4 });

function rowsOf(wanted: Omit<WantedRows, 'model'>, recipe = {}) {
  const { candidates } = listCandidates({ model, ratios: [1 / 2], ...wanted }, parseRecipe(recipe));
  return candidates.map(({ name, title, recovery }) => [name, title, recovery.preset]);
}

describe('listCandidates', () => {
  it('puts recipes with their own names and titles between the closed forms and the recipe itself', () => {
    expect(rowsOf({ methods: ['mean-pool'], recipes: bestRecipes })).toEqual([
      ['mean-pool', 'Mean-pool', 'none'],
      ['rope-averaged-refit', 'RoPE-averaged, output refit', 'full'],
      ['default-recipe', 'Recipe: RoPE-averaged, full block reconstruction', 'full'],
    ]);
  });

  it('runs recipes on the text of the recipe that is compared', () => {
    const recovery = { preset: 'light', trainingWindows: 3, windowLength: 64, seed: 7 } as const;
    const { candidates } = listCandidates(
      { model, methods: [], recipes: bestRecipes, ratios: [1 / 2] },
      parseRecipe({ recovery }),
    );
    const text = { trainingWindows: 3, windowLength: 64, seed: 7 };
    expect(candidates.map((candidate) => candidate.recovery)).toMatchObject([
      { ...text, preset: 'full', steps: 0 },
      { ...text, preset: 'light' },
    ]);
  });

  it('gives a recipe its budget, and its rows before and after distillation one place for artefacts', () => {
    const recipe = parseRecipe({
      recovery: { preset: 'light', distillation: { preset: 'light' } },
      budget: { policy: 'lost-energy' },
    });
    const { candidates } = listCandidates({ model, methods: ['svd-w'], ratios: [1 / 2] }, recipe);
    const described = candidates.map(({ name, title, budget, artefacts }) => [name, title, budget.policy, artefacts]);
    expect(described).toEqual([
      ['svd-w', 'SVD-w', 'uniform', undefined],
      ...[
        ['default-recipe', 'Recipe: RoPE-averaged, light block reconstruction, lost-energy budget'],
        [
          'default-recipe+distilled',
          'Recipe: RoPE-averaged, light block reconstruction, distillation, lost-energy budget',
        ],
      ].map((row) => [...row, 'lost-energy', 'default-recipe']),
    ]);
    const closed = parseRecipe({ recovery: { preset: 'none' }, budget: { policy: 'progressive' } });
    expect(listCandidates({ model, methods: [], ratios: [1 / 2] }, closed).candidates).toMatchObject([
      { name: 'default-recipe', title: 'Recipe: RoPE-averaged, progressive budget', recovery: { preset: 'none' } },
    ]);
  });

  it('calls what follows the closed form by what it does, not by its preset', () => {
    const recovery = { preset: 'light', steps: 0 } as const;
    expect(rowsOf({ methods: [] }, { recovery })).toEqual([
      ['default-recipe', 'Recipe: RoPE-averaged, output refit', 'light'],
    ]);
    expect(rowsOf({ methods: [] }, { recovery: { ...recovery, refitOutput: false } })).toEqual([]);
  });

  it('sets every method before and after the reconstruction of the recipe', () => {
    const wanted = { methods: ['mean-pool', 'rope-averaged'], reconstructEach: true };
    expect(rowsOf(wanted, { recovery: { preset: 'light' } })).toEqual([
      ['mean-pool', 'Mean-pool', 'none'],
      ['mean-pool+light', 'Mean-pool, light block reconstruction', 'light'],
      ['rope-averaged', 'RoPE-averaged', 'none'],
      ['default-recipe', 'RoPE-averaged, light block reconstruction', 'light'],
    ]);
    expect(rowsOf(wanted, { recovery: { preset: 'none' } }).map(([name]) => name)).toEqual(wanted.methods);
  });

  it('gives each size a row, and says which sizes cannot be', () => {
    const wanted = { model, methods: ['svd-a'], ratios: [1 / 2, 1 / 3, 1 / 4] };
    const { candidates, notes } = listCandidates(wanted, parseRecipe({ recovery: { preset: 'none' } }));
    expect(candidates.map(({ keyValueHeads }) => keyValueHeads)).toEqual([2, 1]);
    expect(notes).toEqual(['1/3 of 4 KV heads is left out: possible are 1/2, 1/4.']);
    expect(() => rowsOf({ ratios: [1 / 3] })).toThrow(
      expect.objectContaining({
        code: 'heads-not-divisible',
        message: expect.stringContaining('got 1/3'),
        hint: 'Possible: 1/2, 1/4; for example --ratios 1/2,1/4.',
      }),
    );
  });

  it.each([
    { methods: ['svd-z'] },
    { groupings: [{ name: 'by-colour' }] },
    { budgets: [{ name: 'by-colour' }] },
    { recipes: new Map([['mine', parseRecipe({ method: 'svd-z' })]]) },
  ])('refuses names that are not known: %j', (wanted) => {
    expect(() => rowsOf(wanted)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});
