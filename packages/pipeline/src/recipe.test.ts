import type { Recipe } from '@kvlr/core/schemas';
import { describe, expect, it } from 'vitest';
import { chooseReconstruction, fitWindows, formatRecipeYaml, parseRecipe, parseRecipeYaml } from './recipe.ts';

describe('recipes', () => {
  it('take their defaults', () => {
    expect(parseRecipe({})).toEqual({
      version: 1,
      method: 'rope-averaged-received',
      keyValueHeads: { keep: 0.5 },
      headWidth: 'auto',
      grouping: 'contiguous',
      budget: { policy: 'uniform', windows: 8, windowLength: 257, seed: 0 },
      calibration: { windows: 48, windowLength: 512, seed: 0 },
      recovery: { preset: 'auto', windowLength: 512, seed: 0 },
      keyScales: 'as-is',
      dtype: 'source',
      evaluation: { windowsPerSource: 24, windowLength: 513 },
    });
  });

  it('survive YAML', () => {
    const recipe = parseRecipe({ keyValueHeads: 2, recovery: { preset: 'full', steps: 5 }, dtype: 'F32' });
    expect(parseRecipeYaml(formatRecipeYaml(recipe))).toEqual(recipe);
  });

  it('name every entry that does not fit', () => {
    expect(() => parseRecipe({ method: 4, calibration: { window: 3 } })).toThrowError(
      /method: .*calibration: .*window/,
    );
    expect(() => parseRecipeYaml('a: [')).toThrowError(expect.objectContaining({ code: 'recipe-invalid' }));
  });
});

describe('chooseReconstruction', () => {
  it.each([
    [{ keyValueHeads: { keep: 0.25 } }, 'light'],
    [{ keyValueHeads: { keep: 0.125 } }, 'full'],
    [{ keyValueHeads: 1, headWidth: 2 }, 'light'],
    [{ keyValueHeads: 1, headWidth: 1 }, 'full'],
    [{ keyValueHeads: 1, recovery: { preset: 'refit' as const } }, 'refit'],
  ])('of %j is %s with 8 heads', (entries, preset) => {
    expect(chooseReconstruction(parseRecipe(entries), { numKeyValueHeads: 8 }).recovery.preset).toBe(preset);
  });
});

describe('fitWindows', () => {
  const recipe = parseRecipe({ recovery: { distillation: {} } });
  const lengths = ({ calibration, recovery, budget, evaluation }: Recipe) => [
    ...[calibration.windowLength, recovery.windowLength, recovery.distillation!.windowLength],
    ...[budget.windowLength, evaluation.windowLength],
  ];

  it('shrinks the default windows to the context of the model', () => {
    expect(lengths(fitWindows(recipe, { maxPositionEmbeddings: 64 }))).toEqual([64, 64, 64, 65, 65]);
    expect(lengths(fitWindows(recipe, { maxPositionEmbeddings: 300 }))).toEqual([300, 300, 300, 257, 301]);
    expect(fitWindows(recipe, { maxPositionEmbeddings: 512 })).toEqual(recipe);
  });

  it('leaves lengths that were chosen', () => {
    const chosen = parseRecipe({ calibration: { windowLength: 100 }, evaluation: { windowLength: 90 } });
    const fitted = fitWindows(chosen, { maxPositionEmbeddings: 64 });
    expect([fitted.calibration.windowLength, fitted.evaluation.windowLength]).toEqual([100, 90]);
  });
});
