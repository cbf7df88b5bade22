import { type DecoderShape, KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import {
  bestRecipes,
  budgetPolicies,
  budgetRows,
  type ComparedRows,
  compressionMethods,
  groupingRows,
  groupingStrategies,
  headWidthRows,
  initialisationRows,
  type MethodChoice,
  methodRows,
} from '@kvlr/pipeline';
import { loadBudget, loadGrouping, loadMethod } from '@kvlr/pipeline/node';
import type { DistillChoice } from '../options/options.ts';
import type { HeadWidthChoice } from '../options/parse-values.ts';
import { loadPlugins } from './recipes.ts';

/** The options of `compare` that say which rows its table has. Lists that may be empty are true without names. */
export interface ComparisonRowOptions {
  all?: boolean;
  methods?: string[];
  initialisations?: string[] | true;
  groupings?: string[] | true;
  budgets?: string[] | true;
  headWidths?: number[] | true;
  ratios?: number[];
  headWidth?: HeadWidthChoice;
  recover?: Recipe['recovery']['preset'];
  distill?: DistillChoice;
  recipe?: string;
}

/** One of each kind, for a first look: what the plain command compares. */
export const shortList = ['mean-pool', 'align-then-merge', 'svd-w', 'svd-a', 'palu', 'rope-averaged-received'];

/** The preset of reconstruction without --recover; undefined leaves the recipe's own. */
export function defaultRecovery(options: ComparisonRowOptions): ComparisonRowOptions['recover'] {
  const ownPreset = options.recipe ?? options.all ?? options.groupings ?? options.budgets ?? options.distill;
  if (ownPreset !== undefined) return undefined;
  return options.initialisations || options.headWidths ? 'light' : 'none';
}

/**
 * The rows that the options ask for.
 *
 * @throws KvlrError 'usage' for unknown names; 'file-missing' or 'plugin-invalid' for modules; 'heads-not-divisible'.
 */
export async function loadComparisonRows(
  options: ComparisonRowOptions,
  model: { shape: DecoderShape },
  recipe: Recipe,
): Promise<ComparedRows> {
  const reconstructs = recipe.recovery.preset !== 'none';
  if (options.initialisations && !reconstructs) {
    throw new KvlrError('usage', {
      message: 'expected a reconstruction behind the closed forms of --initialisations, got --recover none',
      hint: 'Use --recover light or full, or --methods to compare closed forms alone.',
    });
  }
  const { headWidth, ...rest } = recipe;
  // Methods stand beside each other in heads of the model's width, unless asked for.
  const asksForWidth = options.headWidth !== undefined || options.recipe !== undefined;
  const request = {
    model,
    recipe: asksForWidth ? recipe : rest,
    ...(await loadPlugins(recipe)),
    ratios: options.ratios,
  };
  if (options.groupings) {
    const names = options.groupings === true ? groupingStrategies.names : options.groupings;
    const groupings = names.map(async (name) => ({ name, choice: await loadGrouping(name) }));
    return groupingRows({ ...request, groupings: await Promise.all(groupings) });
  }
  if (options.budgets) {
    const names = options.budgets === true ? budgetPolicies.names : options.budgets;
    const budgets = names.map(async (name) => ({ name, choice: await loadBudget(name) }));
    return budgetRows({ ...request, budgets: await Promise.all(budgets) });
  }
  if (options.headWidths) {
    return headWidthRows({ ...request, headWidths: options.headWidths === true ? [1, 2, 4] : options.headWidths });
  }
  if (options.initialisations) {
    const methods = options.initialisations === true ? portableMethods() : options.initialisations;
    return initialisationRows({ ...request, methods, ownMethods: await loadMethods(methods) });
  }
  const methods = options.all ? compressionMethods.names : (options.methods ?? shortList);
  const recipes = options.all && reconstructs ? bestRecipes : undefined;
  return methodRows({ ...request, methods, recipes, ownMethods: await loadMethods(methods) });
}

/** Names of the methods whose results any engine loads. */
function portableMethods(): string[] {
  return compressionMethods.names.filter((name) => compressionMethods.get(name).portable);
}

/** The methods among these that are modules, by the path that names them. */
async function loadMethods(names: readonly string[]): Promise<Map<string, MethodChoice>> {
  const methods = new Map<string, MethodChoice>();
  for (const name of names) {
    const method = await loadMethod(name);
    if (method) methods.set(name, method);
  }
  return methods;
}
