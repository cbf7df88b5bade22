import { readFile } from 'node:fs/promises';
import { KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { parseRecipe, parseRecipeYaml } from '@kvlr/pipeline';

/** The options of a command that change the recipe. What is absent leaves the recipe as it is. */
export interface RecipeOptions {
  recipe?: string;
  kvHeads?: number;
  keep?: number;
  method?: string;
  grouping?: string;
  budget?: string;
  recover?: Recipe['recovery']['preset'];
  dtype?: Recipe['dtype'];
  seed?: number;
}

/** The recipe of --recipe, or the default one, changed by the other options. Throws KvlrError 'usage', 'recipe-invalid'. */
export async function loadRecipe(options: RecipeOptions): Promise<Recipe> {
  if (options.kvHeads !== undefined && options.keep !== undefined) {
    throw new KvlrError('usage', {
      message: 'expected one of --kv-heads and --keep, got both',
      remedy: 'Leave one of them out.',
    });
  }
  const recipe = options.recipe === undefined ? parseRecipe({}) : await readRecipe(options.recipe);
  const { kvHeads, keep, seed } = options;
  return {
    ...recipe,
    method: options.method ?? recipe.method,
    keyValueHeads: kvHeads ?? (keep === undefined ? recipe.keyValueHeads : { keep }),
    grouping: options.grouping ?? recipe.grouping,
    budget: { ...recipe.budget, policy: options.budget ?? recipe.budget.policy },
    calibration: { ...recipe.calibration, seed: seed ?? recipe.calibration.seed },
    recovery: {
      ...recipe.recovery,
      preset: options.recover ?? recipe.recovery.preset,
      seed: seed ?? recipe.recovery.seed,
    },
    dtype: options.dtype ?? recipe.dtype,
  };
}

async function readRecipe(path: string): Promise<Recipe> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new KvlrError('file-missing', {
      message: `loadRecipe: expected a recipe at ${path}, found no readable file`,
      remedy: 'Name a recipe.yaml, such as the one beside every checkpoint that kvlr wrote.',
      data: { file: path },
      cause,
    });
  });
  return parseRecipeYaml(text, path);
}
