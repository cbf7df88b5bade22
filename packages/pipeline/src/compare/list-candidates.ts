import { compressionMethods, resolveBudget, resolveMethod } from '@kvlr/compression';
import { type DecoderShape, KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { resolveGrouping } from '@kvlr/grouping';
import { formatRatio } from '@kvlr/report';
import { describeRecovery } from '../recipe/describe-recovery.ts';
import { methodName } from '../recipe/method-name.ts';
import { parseRecipe } from '../recipe/parse-recipe.ts';
import { divisorsOf } from '../recipe/resolve-key-value-heads.ts';
import type { BudgetChoice, MethodChoice } from '../run/plugin-choices.ts';
import {
  type Candidate,
  type ComparedBudget,
  type ComparedGrouping,
  type ComparedRecipe,
  recipeRowName,
} from './candidate.ts';

/** What rows are asked for; see `ComparisonRequest`. */
export interface WantedRows {
  model: { shape: DecoderShape };
  methods?: readonly string[] | undefined;
  ownMethods?: ReadonlyMap<string, MethodChoice> | undefined;
  reconstructEach?: boolean | undefined;
  budget?: BudgetChoice | undefined;
  recipes?: ReadonlyMap<string, ComparedRecipe> | undefined;
  groupings?: readonly ComparedGrouping[] | undefined;
  budgets?: readonly ComparedBudget[] | undefined;
  ratios?: readonly number[] | undefined;
}

/** A row before its size is known. */
type Row = Omit<Candidate, 'keyValueHeads'>;

const { budget: uniformBudget } = parseRecipe({});

/**
 * All rows that are possible, and in words those that are not.
 *
 * @throws KvlrError 'heads-not-divisible' when no ratio is possible; 'usage' for an unknown method or grouping.
 */
export function listCandidates(request: WantedRows, recipe: Recipe): { candidates: Candidate[]; notes: string[] } {
  const { possible, notes } = possibleSizes(request);
  const rows = listRows(request, recipe);
  return { candidates: rows.flatMap((row) => possible.map((keyValueHeads) => ({ ...row, keyValueHeads }))), notes };
}

function listRows(request: WantedRows, recipe: Recipe): Row[] {
  if (request.groupings) return groupingRows(request, recipe, request.groupings);
  if (request.budgets) return budgetRows(request, recipe, request.budgets);
  return methodRows(request, recipe);
}

function methodRows(request: WantedRows, recipe: Recipe): Row[] {
  const methods = request.methods ?? Object.keys(compressionMethods);
  const closedForms = methods.map((method) => recoveredRow(request, method, without(recipe.recovery)));
  if (request.reconstructEach) {
    return closedForms.flatMap((row) => {
      const after = recoveredRow(request, row.method, recipe.recovery);
      // The recipe's own row keeps its name, under which another comparison may have left its layers.
      return unlessEqual(
        row,
        row.method === recipe.method && after.name !== row.name ? { ...after, name: recipeRowName } : after,
      );
    });
  }
  const recipes = [...(request.recipes ?? [])].map(([name, { method, recovery }]) => ({
    ...recoveredRow(request, method, onTextOf(recipe, recovery)),
    name,
  }));
  return [...closedForms, ...recipes, ...ownRows(request, recipe)];
}

/** The recipe itself where it goes beyond a closed form; before its distillation too, if it has one. */
function ownRows(request: WantedRows, recipe: Recipe): Row[] {
  const { budget } = recipe;
  const spreads = budget.policy !== 'uniform' || request.budget !== undefined;
  const rowWith = (name: string, recovery: Recipe['recovery']): Row[] => {
    if (!describeRecovery(recovery) && !spreads) return [];
    const { title, ...row } = recoveredRow(request, recipe.method, recovery);
    const ownTitle = `Recipe: ${title}${spreads ? `, ${budget.policy} budget` : ''}`;
    return [{ ...row, name, title: ownTitle, budget, budgetChoice: request.budget, artefacts: recipeRowName }];
  };
  const { distillation, ...before } = recipe.recovery;
  if (distillation === undefined) return rowWith(recipeRowName, recipe.recovery);
  return [...rowWith(recipeRowName, before), ...rowWith(`${recipeRowName}+distilled`, recipe.recovery)];
}

function groupingRows(request: WantedRows, recipe: Recipe, groupings: readonly ComparedGrouping[]): Row[] {
  const { method } = recipe;
  titleOf(request, method);
  return groupings.flatMap((grouping) => {
    if (!grouping.choice) resolveGrouping(grouping.name);
    const named = (recovery: Recipe['recovery']) => ({
      ...rowOf(grouping.name, `Groups: ${grouping.name}`, { method, recovery, grouping }),
      usual: nameOf('contiguous', recovery),
    });
    return unlessEqual(named(without(recipe.recovery)), named(recipe.recovery));
  });
}

function budgetRows(request: WantedRows, recipe: Recipe, budgets: readonly ComparedBudget[]): Row[] {
  const { method } = recipe;
  titleOf(request, method);
  return budgets.flatMap(({ name, choice }) => {
    if (!choice) resolveBudget(name);
    const named = (recovery: Recipe['recovery']): Row => ({
      ...rowOf(name, `Budget: ${name}`, { method, recovery }),
      budget: { ...recipe.budget, policy: name },
      budgetChoice: choice,
      artefacts: name,
      comparesBudgets: true,
      usual: nameOf('uniform', recovery),
    });
    return unlessEqual(named(without(recipe.recovery)), named(recipe.recovery));
  });
}

/** A method and what follows it, named after both. */
function recoveredRow(request: WantedRows, method: Recipe['method'], recovery: Recipe['recovery']): Row {
  return rowOf(methodName(method), titleOf(request, method), { method, recovery });
}

function rowOf(name: string, title: string, described: Omit<Row, 'name' | 'title' | 'budget'>): Row {
  const followed = describeRecovery(described.recovery);
  return {
    ...described,
    budget: uniformBudget,
    name: nameOf(name, described.recovery),
    title: followed ? `${title}, ${followed.title}` : title,
  };
}

function nameOf(name: string, recovery: Recipe['recovery']): string {
  const followed = describeRecovery(recovery);
  return followed ? `${name}+${followed.name}` : name;
}

/** Before and after, or one row where nothing follows the closed form. */
function unlessEqual(before: Row, after: Row): Row[] {
  return before.name === after.name ? [before] : [before, after];
}

/** The same recovery on the calibration windows of the recipe that is compared, so that all rows have the same text. */
function onTextOf({ recovery: own }: Recipe, recovery: Recipe['recovery']): Recipe['recovery'] {
  const { windowLength, seed, trainingWindows, heldOutWindows } = own;
  return {
    ...recovery,
    windowLength,
    seed,
    trainingWindows: trainingWindows ?? recovery.trainingWindows,
    heldOutWindows: heldOutWindows ?? recovery.heldOutWindows,
  };
}

function without(recovery: Recipe['recovery']): Recipe['recovery'] {
  return { ...recovery, preset: 'none', distillation: undefined };
}

function titleOf({ ownMethods }: WantedRows, method: Recipe['method']): string {
  return (ownMethods?.get(methodName(method))?.method ?? resolveMethod(method)).title;
}

function possibleSizes(request: WantedRows): { possible: number[]; notes: string[] } {
  const { numKeyValueHeads } = request.model.shape;
  const ratios = request.ratios ?? [1 / 2, 1 / 4, 1 / 8];
  const heads = (ratio: number) => numKeyValueHeads * ratio;
  const divides = (ratio: number) => Number.isInteger(heads(ratio)) && numKeyValueHeads % heads(ratio) === 0;
  const shares = divisorsOf(numKeyValueHeads)
    .map((count) => formatRatio(1 / count))
    .slice(1);
  const notes = ratios
    .filter((ratio) => !divides(ratio))
    .map(
      (ratio) =>
        `${formatRatio(ratio)} of ${numKeyValueHeads} KV heads is left out: possible are ${shares.join(', ')}.`,
    );
  const possible = ratios.filter(divides).map(heads);
  if (possible.length > 0) return { possible, notes };
  throw new KvlrError('heads-not-divisible', {
    message: `compare: expected a ratio that divides the model's ${numKeyValueHeads} KV heads, got ${ratios.map(formatRatio).join(', ')}`,
    hint:
      shares.length === 0
        ? 'The model has a single KV head: there is nothing to share.'
        : `Possible: ${shares.join(', ')}; for example --ratios ${shares.slice(0, 2).join(',')}.`,
    data: { numKeyValueHeads, ratios, possible: shares },
  });
}
