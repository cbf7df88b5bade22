import { KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import {
  bestRecipes,
  budgetPolicies,
  type ComparedBudget,
  type ComparedGrouping,
  type ComparisonRequest,
  compressionMethods,
  groupingStrategies,
  type MethodChoice,
} from '@kvlr/pipeline';
import { loadBudget, loadGrouping, loadMethod } from '@kvlr/pipeline/node';
import type { DistillChoice } from '../options/shared-options.ts';

/** The options of `compare` that say which rows its table has. Lists that may be empty are true without names. */
export interface ComparisonRowOptions {
  all?: boolean;
  methods?: string[];
  initialisations?: string[] | true;
  groupings?: string[] | true;
  budgets?: string[] | true;
  recover?: Recipe['recovery']['preset'];
  distill?: DistillChoice;
  recipe?: string;
}

/** One of each kind, for a first look: what the plain command compares. */
export const shortList = ['mean-pool', 'align-then-merge', 'svd-w', 'svd-a', 'palu', 'rope-averaged'];

/** Names of the methods whose results any engine loads. */
const stockMethods = Object.entries(compressionMethods).flatMap(([name, { layout }]) =>
  layout === 'stock' ? [name] : [],
);

/** The preset of reconstruction without --recover; undefined leaves the recipe's own. */
export function defaultRecovery(options: ComparisonRowOptions): ComparisonRowOptions['recover'] {
  if (options.recipe !== undefined || options.all || options.groupings || options.budgets || options.distill)
    return undefined;
  return options.initialisations ? 'light' : 'none';
}

/** Loads what the rows need. Throws KvlrError 'usage' for unknown names; 'file-missing' or 'plugin-invalid' for modules. */
export async function loadComparisonRows(
  options: ComparisonRowOptions,
  recipe: Recipe,
): Promise<
  Pick<
    ComparisonRequest,
    'methods' | 'method' | 'budget' | 'ownMethods' | 'recipes' | 'reconstructEach' | 'groupings' | 'budgets'
  >
> {
  const reconstructs = recipe.recovery.preset !== 'none';
  if (options.initialisations && !reconstructs) {
    throw new KvlrError('usage', {
      message: 'expected a reconstruction behind the closed forms of --initialisations, got --recover none',
      hint: 'Use --recover light or full, or --methods to compare closed forms alone.',
    });
  }
  const methods = listMethods(options);
  return {
    methods,
    method: await loadMethod(recipe.method),
    budget: await loadBudget(recipe.budget.policy),
    ownMethods: await loadMethods(methods),
    recipes: options.all && reconstructs ? bestRecipes : undefined,
    reconstructEach: options.initialisations !== undefined,
    groupings: options.groupings && (await loadGroupings(options.groupings)),
    budgets: options.budgets && (await loadBudgets(options.budgets)),
  };
}

function listMethods({ all, methods, initialisations }: ComparisonRowOptions): string[] {
  if (initialisations) return initialisations === true ? stockMethods : initialisations;
  return all ? Object.keys(compressionMethods) : (methods ?? shortList);
}

function loadGroupings(wanted: string[] | true): Promise<ComparedGrouping[]> {
  const names = wanted === true ? Object.keys(groupingStrategies) : wanted;
  return Promise.all(names.map(async (name) => ({ name, choice: await loadGrouping(name) })));
}

function loadBudgets(wanted: string[] | true): Promise<ComparedBudget[]> {
  const names = wanted === true ? Object.keys(budgetPolicies) : wanted;
  return Promise.all(names.map(async (name) => ({ name, choice: await loadBudget(name) })));
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
