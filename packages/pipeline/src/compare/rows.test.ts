import { createTinyModel, expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { parseRecipe } from '../recipe.ts';
import {
  bestRecipes,
  budgetRows,
  type ComparedRows,
  groupingRows,
  headWidthRows,
  initialisationRows,
  methodRows,
} from './rows.ts';

const model = createTinyModel({ numAttentionHeads: 8, numKeyValueHeads: 4 });
const half = { model, ratios: [1 / 2] };
const described = ({ rows }: ComparedRows) =>
  rows.map(({ name, title, entries }) => [name, title, entries.recovery.preset]);

describe('methodRows', () => {
  it('puts recipes with their own names and titles between the closed forms and the recipe itself', () => {
    expect(described(methodRows({ ...half, methods: ['mean-pool'], recipes: bestRecipes }))).toEqual([
      ['mean-pool', 'Mean-pool', 'none'],
      ['rope-averaged-refit', 'RoPE-averaged, output refit', 'refit'],
      ['quick', 'RoPE-averaged, values by attention, heads widened, output refit', 'refit'],
      [
        'default-recipe',
        'Recipe: RoPE-averaged, values by attention, heads widened, light block reconstruction',
        'light',
      ],
    ]);
  });

  it('runs recipes on the text of the recipe that is compared', () => {
    const recovery = { preset: 'light', trainingWindows: 3, windowLength: 64, seed: 7 } as const;
    const { rows } = methodRows({ ...half, methods: [], recipes: bestRecipes, recipe: { recovery } });
    const text = { trainingWindows: 3, windowLength: 64, seed: 7 };
    expect(rows.map(({ entries }) => entries.recovery)).toMatchObject([
      { ...text, preset: 'refit' },
      { ...text, preset: 'refit' },
      { ...text, preset: 'light' },
    ]);
  });

  it('gives a recipe its budget, and its rows before and after distillation one place for artefacts', () => {
    const recipe = {
      recovery: { preset: 'light' as const, distillation: { preset: 'light' as const } },
      budget: { policy: 'lost-energy' },
    };
    const { rows, notes } = methodRows({ ...half, methods: ['svd-w'], recipe });
    const kept = rows.map(({ name, title, entries, artefacts }) => [name, title, entries.budget.policy, artefacts]);
    expect(kept).toEqual([
      ['svd-w', 'SVD-w', 'uniform', undefined],
      ...[
        [
          'default-recipe',
          'Recipe: RoPE-averaged, values by attention, heads widened, light block reconstruction, lost-energy budget',
        ],
        [
          'default-recipe+distilled',
          'Recipe: RoPE-averaged, values by attention, heads widened, light block reconstruction, distillation, lost-energy budget',
        ],
      ].map((row) => [...row, 'lost-energy', 'default-recipe']),
    ]);
    expect(notes).toEqual([
      'The budget of the recipe holds for its own rows; the others keep the same in every layer.',
    ]);
    const closed = { recovery: { preset: 'none' as const }, budget: { policy: 'progressive' } };
    expect(described(methodRows({ ...half, methods: [], recipe: closed }))).toEqual([
      ['default-recipe', 'Recipe: RoPE-averaged, values by attention, heads widened, progressive budget', 'none'],
    ]);
  });

  it('calls what follows the closed form by what it does, not by its preset', () => {
    const recovery = { preset: 'light', steps: 0 } as const;
    expect(described(methodRows({ ...half, methods: [], recipe: { recovery } }))).toEqual([
      ['default-recipe', 'Recipe: RoPE-averaged, values by attention, heads widened, output refit', 'light'],
    ]);
    const refitless = { recovery: { ...recovery, refitOutput: false } };
    expect(methodRows({ ...half, methods: [], recipe: refitless }).rows).toEqual([]);
  });

  it('gives each size a row, and says which sizes cannot be', () => {
    const recipe = { recovery: { preset: 'none' as const } };
    const { rows, notes } = methodRows({ model, methods: ['svd-a'], ratios: [1 / 2, 1 / 3, 1 / 4], recipe });
    expect(rows.map(({ entries }) => entries.keyValueHeads)).toEqual([2, 1]);
    expect(notes).toEqual(['1/3 of 4 KV heads is left out: possible are 1/2, 1/4.']);
    const error = expectKvlrError(() => methodRows({ model, ratios: [1 / 3] }), 'heads-not-divisible', /got 1\/3/);
    expect(error).toMatchObject({ hint: 'Possible: 1/2, 1/4.', where: { argument: 'ratios' } });
  });
});

describe('headWidthRows', () => {
  it('sets widths against each other at equal bytes, before and after the recovery', () => {
    const recipe = { recovery: { preset: 'light' as const } };
    const { rows, notes } = headWidthRows({ model, recipe, ratios: [1 / 2, 1 / 4], headWidths: [1, 2] });
    expect(rows.map(({ name, usual, entries }) => [name, entries.keyValueHeads, entries.headWidth, usual])).toEqual([
      ['1x', 2, 1, '1x'],
      ['1x', 1, 1, '1x'],
      ['1x+light', 2, 1, '1x+light'],
      ['1x+light', 1, 1, '1x+light'],
      ['2x', 1, 2, '1x'],
      ['2x+light', 1, 2, '1x+light'],
    ]);
    expect(notes).toEqual(['1/4 takes less than a head 2 times as wide: that row is left out.']);
  });

  it('lets methods have the width of the recipe where they can, and says so in their names', () => {
    const recipe = { recovery: { preset: 'none' as const }, headWidth: 2 };
    const { rows } = methodRows({ ...half, methods: ['mean-pool', 'svd-w'], recipe });
    expect(rows.map(({ name, title, entries }) => [name, title, entries.headWidth])).toEqual([
      ['mean-pool', 'Mean-pool', 1],
      ['svd-w@2x', 'SVD-w, heads 2 times as wide', 2],
    ]);
  });
});

describe('initialisationRows', () => {
  it('sets every method before and after the reconstruction of the recipe', () => {
    const wanted = { ...half, methods: ['mean-pool', 'rope-averaged-received'] };
    const light = { recovery: { preset: 'light' as const } };
    expect(described(initialisationRows({ ...wanted, recipe: light }))).toEqual([
      ['mean-pool', 'Mean-pool', 'none'],
      ['mean-pool+light', 'Mean-pool, light block reconstruction', 'light'],
      ['rope-averaged-received', 'RoPE-averaged, values by attention', 'none'],
      ['default-recipe', 'RoPE-averaged, values by attention, light block reconstruction', 'light'],
    ]);
    const none = { recovery: { preset: 'none' as const } };
    expect(initialisationRows({ ...wanted, recipe: none }).rows.map(({ name }) => name)).toEqual(wanted.methods);
  });
});

describe('groupingRows and budgetRows', () => {
  const recipe = { recovery: { preset: 'light' as const } };

  it('hold each choice against the usual one with the same recovery', () => {
    const own = { strategy: () => [[0, 1]], hash: 'own' };
    const { rows } = groupingRows({
      ...half,
      recipe,
      groupings: [{ name: 'lost-keys' }, { name: './own.mjs', choice: own }],
    });
    expect(rows.map(({ name, entries, choices, usual }) => [name, entries.grouping, choices.grouping, usual])).toEqual([
      ['lost-keys', 'lost-keys', undefined, 'contiguous'],
      ['lost-keys+light', 'lost-keys', undefined, 'contiguous+light'],
      ['./own.mjs', './own.mjs', own, 'contiguous'],
      ['./own.mjs+light', './own.mjs', own, 'contiguous+light'],
    ]);
  });

  it('let the rows of a budget share their artefacts', () => {
    const { rows, title } = budgetRows({ ...half, recipe, budgets: [{ name: 'progressive' }] });
    expect(title).toBe('every budget at every ratio');
    expect(rows.map(({ name, entries, artefacts, usual }) => [name, entries.budget.policy, artefacts, usual])).toEqual([
      ['progressive', 'progressive', 'progressive', 'uniform'],
      ['progressive+light', 'progressive', 'progressive', 'uniform+light'],
    ]);
  });
});

it.each([
  ['methods', () => methodRows({ ...half, methods: ['svd-z'] })],
  ['groupings', () => groupingRows({ ...half, groupings: [{ name: 'by-colour' }] })],
  ['budgets', () => budgetRows({ ...half, budgets: [{ name: 'by-colour' }] })],
  ['methods of recipes', () => methodRows({ ...half, recipes: new Map([['mine', parseRecipe({ method: 'svd-z' })]]) })],
])('names of %s that are not known are refused', (_, rows) => {
  expectKvlrError(rows, 'usage');
});
