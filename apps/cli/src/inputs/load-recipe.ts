import { KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { parseRecipe } from '@kvlr/pipeline';
import type { DistillChoice } from '../options/shared-options.ts';
import { readRecipe } from './read-recipe.ts';

/** The options of a command that change the recipe. What is absent leaves the recipe as it is. */
export interface RecipeOptions {
  recipe?: string;
  kvHeads?: number;
  keep?: number;
  method?: string;
  /** Sides of the method that are taken from elsewhere. */
  keys?: string;
  ropeStrategy?: string;
  values?: string;
  grouping?: string;
  budget?: string;
  recover?: Recipe['recovery']['preset'];
  distill?: DistillChoice;
  dtype?: Recipe['dtype'];
  seed?: number;
}

/** The recipe of --recipe, or the default one, changed by the other options. Throws KvlrError 'usage', 'recipe-invalid'. */
export async function loadRecipe(options: RecipeOptions): Promise<Recipe> {
  if (options.kvHeads !== undefined && options.keep !== undefined) {
    throw new KvlrError('usage', {
      message: 'expected one of --kv-heads and --keep, got both',
      hint: 'Leave one of them out.',
    });
  }
  const recipe = options.recipe === undefined ? parseRecipe({}) : await readRecipe(options.recipe);
  const { kvHeads, keep, seed } = options;
  return {
    ...recipe,
    method: chooseMethod(options, recipe.method),
    keyValueHeads: kvHeads ?? (keep === undefined ? recipe.keyValueHeads : { keep }),
    grouping: options.grouping ?? recipe.grouping,
    budget: { ...recipe.budget, policy: options.budget ?? recipe.budget.policy },
    calibration: { ...recipe.calibration, seed: seed ?? recipe.calibration.seed },
    recovery: {
      ...recipe.recovery,
      preset: options.recover ?? recipe.recovery.preset,
      seed: seed ?? recipe.recovery.seed,
      distillation: changeDistillation(recipe.recovery.distillation, options.distill),
    },
    dtype: options.dtype ?? recipe.dtype,
  };
}

/** The method of --method or the recipe, with its keys or values replaced by those of --keys, --rope-strategy or --values. */
function chooseMethod({ method, keys, ropeStrategy, values }: RecipeOptions, own: Recipe['method']): Recipe['method'] {
  const whole = method ?? own;
  if (keys === undefined && ropeStrategy === undefined && values === undefined) return whole;
  if (keys !== undefined && ropeStrategy !== undefined) {
    throw new KvlrError('usage', {
      message: 'expected one of --keys and --rope-strategy, got both',
      hint: 'Leave one of them out: each says how keys are compressed.',
    });
  }
  const sides = typeof whole === 'string' ? { keys: whole, values: whole } : whole;
  if (ropeStrategy !== undefined) return { ropeStrategy, values: values ?? sides.values };
  return keys === undefined ? { ...sides, values: values ?? sides.values } : { keys, values: values ?? sides.values };
}

/** A recipe's distillation changed by --distill: another preset keeps the numbers that the recipe sets. */
export function changeDistillation(
  distillation: Recipe['recovery']['distillation'],
  preset: DistillChoice | undefined,
): Recipe['recovery']['distillation'] {
  if (preset === undefined) return distillation;
  return preset === 'none'
    ? undefined
    : parseRecipe({ recovery: { distillation: { ...distillation, preset } } }).recovery.distillation;
}
