import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { didYouMean, KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type PluginChoices, parseRecipe, parseRecipeYaml } from '@kvlr/pipeline';
import { loadBudget, loadGrouping, loadMethod } from '@kvlr/pipeline/node';
import type { DistillChoice } from '../options/options.ts';
import type { HeadWidthChoice } from '../options/parse-values.ts';

/** The options of a command that change the recipe. What is absent leaves the recipe as it is. */
export interface RecipeOptions {
  recipe?: string;
  kvHeads?: number;
  keep?: number;
  headWidth?: HeadWidthChoice;
  method?: string;
  /** Sides of the method that are taken from elsewhere. */
  keys?: string;
  ropeStrategy?: string;
  values?: string;
  grouping?: string;
  budget?: string;
  recover?: Recipe['recovery']['preset'];
  distill?: DistillChoice;
  keyScales?: Recipe['keyScales'];
  dtype?: Recipe['dtype'];
  seed?: number;
}

/** Loads the modules that a recipe names. Throws KvlrError 'usage' for unknown names; 'file-missing' or 'plugin-invalid' for modules. */
export async function loadPlugins(recipe: Recipe): Promise<PluginChoices> {
  return {
    method: await loadMethod(recipe.method),
    grouping: await loadGrouping(recipe.grouping),
    budget: await loadBudget(recipe.budget.policy),
  };
}

/**
 * The recipe of --recipe, or the default one, changed by the other options. Throws KvlrError 'usage', 'recipe-invalid'.
 *
 * @param headDim Width of the model's heads.
 */
export async function loadRecipe(options: RecipeOptions, headDim: number): Promise<Recipe> {
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
    headWidth: chooseHeadWidth(options.headWidth, headDim) ?? recipe.headWidth,
    grouping: options.grouping ?? recipe.grouping,
    budget: { ...recipe.budget, policy: options.budget ?? recipe.budget.policy },
    calibration: { ...recipe.calibration, seed: seed ?? recipe.calibration.seed },
    recovery: {
      ...recipe.recovery,
      preset: options.recover ?? recipe.recovery.preset,
      seed: seed ?? recipe.recovery.seed,
      distillation: changeDistillation(recipe.recovery.distillation, options.distill),
    },
    keyScales: options.keyScales ?? recipe.keyScales,
    dtype: options.dtype ?? recipe.dtype,
  };
}

/** The recipe's entry for --head-width, in widths of the model's heads. */
function chooseHeadWidth(width: HeadWidthChoice | undefined, headDim: number): Recipe['headWidth'] | undefined {
  if (width === undefined || width === 'auto') return width;
  if ('times' in width) return width.times;
  const times = width.numbers / headDim;
  if (Number.isInteger(times)) return times;
  throw new KvlrError('usage', {
    message: `expected a multiple of the ${headDim} numbers of the model's heads, got --head-width ${width.numbers}`,
    hint: `For example --head-width ${2 * headDim}, which is 2x.`,
    data: { headDim, received: width.numbers },
  });
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

/**
 * Reads the recipe of a file, or the one of this name among those that come with kvlr.
 * Throws KvlrError 'usage' for an unknown name; 'file-missing' or 'recipe-invalid' for a file.
 */
export async function readRecipe(nameOrPath: string): Promise<Recipe> {
  const path = /^[\w-]+$/.test(nameOrPath) ? pathOfRecipe(nameOrPath) : nameOrPath;
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new KvlrError('file-missing', {
      message: 'expected a recipe, found no readable file',
      hint: 'Name one of those in kvlr compress --help, or a recipe.yaml such as the one beside every checkpoint that kvlr wrote.',
      where: { file: path },
      cause,
    });
  });
  return parseRecipeYaml(text, path);
}

/** Names of the recipes that come with kvlr. */
export function recipeNames(): string[] {
  const files = readdirSync(recipesDirectory).filter((file) => file.endsWith('.yaml'));
  return files.map((file) => basename(file, '.yaml')).sort();
}

function pathOfRecipe(name: string): string {
  const names = recipeNames();
  if (names.includes(name)) return join(recipesDirectory, `${name}.yaml`);
  throw new KvlrError('usage', {
    message: `expected one of ${names.join(', ')}, got "${name}"`,
    hint: `${didYouMean(name, names)}Name one of these recipes, or give the path of a file, such as ./recipe.yaml.`,
    data: { received: name },
  });
}

/** One recipe for each row of the comparison: NAME.yaml. */
export const recipesDirectory = shippedDirectory('recipes');

/** A working plug-in of each kind. */
export const examplesDirectory = shippedDirectory('examples');

/** A directory that comes with the program: beside it when it is built, at the root of the repository before. */
function shippedDirectory(name: string): string {
  const beside = fileURLToPath(new URL(`./${name}`, import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL(`../../../../${name}`, import.meta.url));
}
