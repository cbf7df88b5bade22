import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { formatRecipeYaml, parseRecipe, parseRecipeYaml, resolveKeyValueHeads } from './recipe.ts';

describe('recipes', () => {
  it('take their defaults', () => {
    expect(parseRecipe({})).toEqual({
      version: 1,
      method: 'rope-averaged',
      keyValueHeads: { keep: 0.5 },
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

describe('resolveKeyValueHeads', () => {
  const { shape } = createTinyModel({ numAttentionHeads: 8, numKeyValueHeads: 8 });

  it('takes counts and shares that divide', () => {
    expect(resolveKeyValueHeads(shape, 2)).toBe(2);
    expect(resolveKeyValueHeads(shape, { keep: 0.25 })).toBe(2);
    expect(resolveKeyValueHeads(shape, { keep: 1 })).toBe(8);
  });

  it.each([3, 16, { keep: 0.3 }, { keep: 0.01 }])('refuses %j', (wanted) => {
    expect(() => resolveKeyValueHeads(shape, wanted)).toThrowError(
      expect.objectContaining({ code: 'heads-not-divisible', hint: expect.stringContaining('1, 2, 4, 8') }),
    );
  });

  it('names the nearest count', () => {
    expect(() => resolveKeyValueHeads(shape, { keep: 0.33 })).toThrowError(
      expect.objectContaining({
        message: expect.stringContaining('33 % of 8, which is 2.64'),
        hint: expect.stringContaining('nearest is 2, 25 %'),
        data: expect.objectContaining({ nearest: 2 }),
      }),
    );
  });
});
