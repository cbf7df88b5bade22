import { describe, expect, it } from 'vitest';
import { formatRecipeYaml, parseRecipe, parseRecipeYaml } from './recipe.ts';

describe('recipes', () => {
  it('take their defaults', () => {
    expect(parseRecipe({})).toEqual({
      version: 1,
      method: 'rope-averaged',
      keyValueHeads: { keep: 0.5 },
      headWidth: 1,
      grouping: 'contiguous',
      budget: { policy: 'uniform', windows: 8, windowLength: 257, seed: 0 },
      calibration: { windows: 48, windowLength: 512, seed: 0 },
      recovery: { preset: 'full', windowLength: 512, seed: 0 },
      dtype: 'source',
      evaluation: { windowsPerSource: 24, windowLength: 513 },
    });
  });

  it('survive YAML', () => {
    const recipe = parseRecipe({ keyValueHeads: 2, recovery: { preset: 'light', steps: 5 }, dtype: 'F32' });
    expect(parseRecipeYaml(formatRecipeYaml(recipe))).toEqual(recipe);
  });

  it('name every entry that does not fit', () => {
    expect(() => parseRecipe({ method: 4, calibration: { window: 3 } })).toThrowError(
      /method: .*calibration: .*window/,
    );
    expect(() => parseRecipeYaml('a: [')).toThrowError(expect.objectContaining({ code: 'recipe-invalid' }));
  });
});
