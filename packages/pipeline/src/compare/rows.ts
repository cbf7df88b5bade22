import { allowsWideHeads, compressionMethods, resolveMethod } from '@kvlr/compression';
import { type DecoderShape, KvlrError } from '@kvlr/core';
import type { Recipe, RecipeInput } from '@kvlr/core/schemas';
import { formatRatio } from '@kvlr/report';
import { divisorsOf, type ResultHeads, resolveHeads } from '../heads.ts';
import { canCompress } from '../outcome.ts';
import type { PluginChoices } from '../plan.ts';
import { describeRecovery, fitWindows, methodName, parseRecipe } from '../recipe.ts';
import {
  type BudgetChoice,
  budgetPolicies,
  type GroupingChoice,
  groupingStrategies,
  type MethodChoice,
} from '../run/plugin-choices.ts';
import { budgetColumns, groupingColumns, type RowColumns } from './columns.ts';

/** One row of a comparison. */
export interface ComparedRow {
  /** What the row is called in files and options, unique at each size, and in tables. */
  name: string;
  title: string;
  /** What the row has of its own in the recipe. */
  entries: RowEntries & ResultHeads;
  /** What replaces names in it. */
  choices: PluginChoices;
  /** Name under which what resuming needs lies, where it is not the row's own: rows that differ in their last stage share it. */
  artefacts?: string;
  /** Name of the row that this one is held against too: that of the usual choice. */
  usual?: string;
  columns?: RowColumns;
}

type RowEntries = Pick<Recipe, 'method' | 'grouping' | 'budget' | 'recovery'>;

/** What `compare` takes. */
export interface ComparedRows {
  /** What is compared, for the title: 'every grouping at every ratio'. */
  title: string;
  rows: ComparedRow[];
  /** In words: what is left out, and what holds for some rows only. */
  notes: string[];
}

export interface RowsRequest extends PluginChoices {
  model: { shape: DecoderShape };
  /** What rows have that do not say otherwise. `grouping`, `method` and `budget` replace its names. */
  recipe?: RecipeInput;
  /** Shares of the KV heads to keep. Default 1/2, 1/4, 1/8. Shares that do not divide are left out, and named in a note. */
  ratios?: readonly number[] | undefined;
  /** Methods of the caller's own, by the names under which lists of methods ask for them. */
  ownMethods?: ReadonlyMap<string, MethodChoice> | undefined;
}

/** A row of its own method, width of heads and recovery, on the calibration windows of the recipe that is compared. */
export type ComparedRecipe = Pick<Recipe, 'method' | 'headWidth' | 'recovery'>;

/** Name under which the recipe itself, reconstruction included, stands among the methods. */
export const recipeRowName = 'default-recipe';

/**
 * kvlr's recipes that go beyond a closed form without being the default one, by the names of their rows. recipes/NAME.yaml is
 * the same recipe as a file.
 */
export const bestRecipes: ReadonlyMap<string, ComparedRecipe> = new Map([
  ['rope-averaged-refit', parseRecipe({ method: 'rope-averaged', headWidth: 1, recovery: { preset: 'refit' } })],
  ['quick', parseRecipe({ recovery: { preset: 'refit' } })],
]);

const budgetNote = 'The budget of the recipe holds for its own rows; the others keep the same in every layer.';

/**
 * Closed forms without reconstruction, then further recipes, then the recipe itself where it goes beyond a closed form.
 *
 * @throws KvlrError 'heads-not-divisible' when no ratio is possible; 'usage' for unknown names. So do all that follow.
 */
export function methodRows(
  request: RowsRequest & {
    /** Default: all. */
    methods?: readonly string[] | undefined;
    /** Further rows, each with its own method and recovery, by their names; for example `bestRecipes`. */
    recipes?: ReadonlyMap<string, ComparedRecipe> | undefined;
  },
): ComparedRows {
  const recipe = comparedRecipe(request);
  const { shape } = request.model;
  const unfit = compressionMethods.names.filter((name) => !canCompress(compressionMethods.get(name), shape));
  const methods = request.methods ?? compressionMethods.names.filter((name) => !unfit.includes(name));
  const closedForms = methods.map((method) => methodRow(request, recipe, method, closedForm(recipe)));
  const recipes = [...(request.recipes ?? [])].map(([name, { method, headWidth, recovery }]) => ({
    ...methodRow(request, { ...recipe, headWidth }, method, onTextOf(recipe, recovery)),
    name,
  }));
  const title = `${request.methods ? 'methods' : 'every method'} at every ratio`;
  return atRatios(
    request,
    title,
    [...closedForms, ...recipes, ...recipeRows(request, recipe)],
    [...(request.methods ? [] : unfit.map(leftOut)), ...notesOf(request, recipe)],
  );
}

function leftOut(method: string): string {
  return `${method} is left out: its keys would be rebuilt from latents that are normed or clipped.`;
}

/**
 * What rows have that do not say otherwise: heads of the model's width, as most methods of other papers have them, and one preset of
 * reconstruction at all ratios.
 */
function comparedRecipe({ recipe, model }: RowsRequest): Recipe {
  const { recovery, ...rest } = fitWindows(parseRecipe({ headWidth: 1, ...recipe }), model.shape);
  return { ...rest, recovery: recovery.preset === 'auto' ? { ...recovery, preset: 'light' } : recovery };
}

/** The recipe itself, in its own width, where it goes beyond a closed form; before its distillation too, if it has one. */
function recipeRows(request: RowsRequest, compared: Recipe): RowOfAnySize[] {
  const recipe = { ...compared, headWidth: parseRecipe(request.recipe).headWidth };
  const { budget } = recipe;
  const rowWith = (name: string, recovery: Recipe['recovery']): RowOfAnySize[] => {
    const spread = spreads(request, recipe);
    if (!describeRecovery(recovery) && !spread) return [];
    const row = methodRow(request, recipe, recipe.method, recovery);
    const title = `Recipe: ${row.title}${spread ? `, ${budget.policy} budget` : ''}`;
    const choices = { ...row.choices, budget: request.budget };
    return [{ ...row, name, title, entries: { ...row.entries, budget }, choices, artefacts: recipeRowName }];
  };
  const { distillation, ...before } = recipe.recovery;
  if (distillation === undefined) return rowWith(recipeRowName, recipe.recovery);
  return [...rowWith(recipeRowName, before), ...rowWith(`${recipeRowName}+distilled`, recipe.recovery)];
}

/** Every method before and after the recipe's recovery: what closed forms are worth once it has run. */
export function initialisationRows(request: RowsRequest & { methods: readonly string[] }): ComparedRows {
  const recipe = comparedRecipe(request);
  const rows = request.methods.flatMap((method) => {
    const before = methodRow(request, recipe, method, closedForm(recipe));
    const after = methodRow(request, recipe, method, recipe.recovery);
    // The recipe's own row keeps its name, under which another comparison may have left its layers.
    const isRecipe = method === recipe.method && after.name !== before.name;
    return unlessEqual(before, isRecipe ? { ...after, name: recipeRowName } : after);
  });
  return atRatios(request, 'every method before and after block reconstruction', rows, notesOf(request, recipe));
}

/** One of several groupings that are compared. */
export interface ComparedGrouping {
  /** Name of a grouping strategy, or the path that `choice` was loaded from. */
  name: string;
  choice?: GroupingChoice | undefined;
}

/** The recipe's method with each grouping, before and after its recovery, and what the groups cost. */
export function groupingRows(request: RowsRequest & { groupings: readonly ComparedGrouping[] }): ComparedRows {
  const recipe = comparedRecipe(request);
  const rows = request.groupings.flatMap(({ name, choice }) => {
    if (!choice) groupingStrategies.get(name);
    const rowWith = (recovery: Recipe['recovery']): RowOfAnySize => {
      const { entries, choices, headWidth } = methodRow(request, recipe, recipe.method, recovery);
      return {
        ...namedAfter(name, `Groups: ${name}`, { ...entries, grouping: name }, { ...choices, grouping: choice }),
        headWidth,
        ...{ columns: groupingColumns, usual: nameWith('contiguous', recovery) },
      };
    };
    return unlessEqual(rowWith(closedForm(recipe)), rowWith(recipe.recovery));
  });
  return atRatios(request, 'every grouping at every ratio', rows, notesOf(request, recipe));
}

/** One of several budgets that are compared. */
export interface ComparedBudget {
  /** Name of a budget policy, or the path that `choice` was loaded from. */
  name: string;
  choice?: BudgetChoice | undefined;
}

/** The recipe's method with each budget, before and after its recovery, and what each layer keeps. */
export function budgetRows(request: RowsRequest & { budgets: readonly ComparedBudget[] }): ComparedRows {
  const recipe = comparedRecipe(request);
  const rows = request.budgets.flatMap(({ name, choice }) => {
    if (!choice) budgetPolicies.get(name);
    const rowWith = (recovery: Recipe['recovery']): RowOfAnySize => {
      const { entries, choices } = methodRow(request, { ...recipe, headWidth: 1 }, recipe.method, recovery);
      const budget = { ...recipe.budget, policy: name };
      return {
        ...namedAfter(name, `Budget: ${name}`, { ...entries, budget }, { ...choices, budget: choice }),
        headWidth: 1,
        ...{ artefacts: name, columns: budgetColumns, usual: nameWith('uniform', recovery) },
      };
    };
    return unlessEqual(rowWith(closedForm(recipe)), rowWith(recipe.recovery));
  });
  return atRatios(request, 'every budget at every ratio', rows);
}

/**
 * The recipe's method with heads of each width, before and after its recovery, at equal bytes of cache.
 *
 * @param request.headWidths In widths of the model's heads; ratios at which groups are too small for a width are left out.
 */
export function headWidthRows(request: RowsRequest & { headWidths: readonly number[] }): ComparedRows {
  const recipe = comparedRecipe(request);
  const rows = request.headWidths.flatMap((headWidth) => {
    const rowWith = (recovery: Recipe['recovery']): RowOfAnySize => {
      const row = methodRow(request, { ...recipe, headWidth }, recipe.method, recovery);
      const { entries, choices } = row;
      const title = headWidth === 1 ? "Heads of the model's width" : `Heads ${headWidth} times as wide`;
      return { ...namedAfter(`${headWidth}x`, title, entries, choices), headWidth, usual: nameWith('1x', recovery) };
    };
    return unlessEqual(rowWith(closedForm(recipe)), rowWith(recipe.recovery));
  });
  return atRatios(request, 'heads of every width at equal bytes of cache', rows, notesOf(request, recipe));
}

/** A row before its size is known. */
type RowOfAnySize = Omit<ComparedRow, 'entries'> & { entries: RowEntries; headWidth: Recipe['headWidth'] };

const { budget: uniformBudget } = parseRecipe({});

/** A method and what follows it. */
function methodRow(
  request: RowsRequest,
  recipe: Recipe,
  method: Recipe['method'],
  recovery: Recipe['recovery'],
): RowOfAnySize {
  const name = methodName(method);
  const own = name === methodName(recipe.method) && request.method ? request.method : request.ownMethods?.get(name);
  const used = own?.method ?? resolveMethod(method);
  const entries = { method, grouping: recipe.grouping, budget: uniformBudget, recovery };
  const headWidth = allowsWideHeads(used) ? recipe.headWidth : 1;
  const [mark, wide] =
    headWidth === 'auto'
      ? ['@auto', ', heads widened']
      : headWidth > 1
        ? [`@${headWidth}x`, `, heads ${headWidth} times as wide`]
        : ['', ''];
  const choices = { grouping: request.grouping, method: own };
  return { ...namedAfter(`${name}${mark}`, `${used.title}${wide}`, entries, choices), headWidth };
}

/** A row whose name and title say what follows the closed form. */
function namedAfter(
  name: string,
  title: string,
  entries: RowEntries,
  choices: PluginChoices,
): Omit<RowOfAnySize, 'headWidth'> {
  const followed = describeRecovery(entries.recovery);
  return {
    name: nameWith(name, entries.recovery),
    title: followed ? `${title}, ${followed.title}` : title,
    entries,
    choices,
  };
}

function nameWith(name: string, recovery: Recipe['recovery']): string {
  const followed = describeRecovery(recovery);
  return followed ? `${name}+${followed.name}` : name;
}

/** Before and after, or one row where nothing follows the closed form. */
function unlessEqual(before: RowOfAnySize, after: RowOfAnySize): RowOfAnySize[] {
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

function closedForm({ recovery }: Recipe): Recipe['recovery'] {
  return { ...recovery, preset: 'none', distillation: undefined };
}

/** True when the layers of the recipe itself do not all keep the same. */
function spreads({ budget }: RowsRequest, recipe: Recipe): boolean {
  return recipe.budget.policy !== 'uniform' || budget !== undefined;
}

function notesOf(request: RowsRequest, recipe: Recipe): string[] {
  return spreads(request, recipe) ? [budgetNote] : [];
}

/** Every row at every size that is possible; notes say which are not. */
function atRatios(
  request: RowsRequest,
  title: string,
  rows: readonly RowOfAnySize[],
  notes: readonly string[] = [],
): ComparedRows {
  const { model } = request;
  const { numKeyValueHeads } = model.shape;
  const ratios = request.ratios ?? [1 / 2, 1 / 4, 1 / 8];
  const heads = (ratio: number) => numKeyValueHeads * ratio;
  const divides = (ratio: number) => Number.isInteger(heads(ratio)) && numKeyValueHeads % heads(ratio) === 0;
  const shares = divisorsOf(numKeyValueHeads)
    .map((count) => formatRatio(1 / count))
    .slice(1);
  const left = ratios.filter((ratio) => !divides(ratio));
  const possible = ratios.filter(divides);
  if (possible.length === 0) {
    throw new KvlrError('heads-not-divisible', {
      message: `expected a ratio that divides the model's ${numKeyValueHeads} KV heads, got ${ratios.map(formatRatio).join(', ')}`,
      hint:
        shares.length === 0
          ? 'The model has a single KV head: there is nothing to share.'
          : `Possible: ${shares.join(', ')}.`,
      where: { argument: 'ratios' },
      data: { numKeyValueHeads, ratios, possible: shares },
    });
  }
  const narrow = new Set<string>();
  const sized = rows.flatMap(({ headWidth, ...row }) =>
    possible.flatMap((ratio): ComparedRow[] => {
      if (typeof headWidth === 'number' && headWidth > 1 && !Number.isInteger(heads(ratio) / headWidth)) {
        narrow.add(`${formatRatio(ratio)} takes less than a head ${headWidth} times as wide: that row is left out.`);
        return [];
      }
      const { method } = row.entries;
      const ofRow = {
        ...{ model, uniform: true, recipe: { keyValueHeads: { keep: ratio }, headWidth } },
        method: row.choices.method?.method ?? resolveMethod(method),
      };
      return [{ ...row, entries: { ...row.entries, ...resolveHeads(ofRow) } }];
    }),
  );
  return {
    title,
    rows: sized,
    notes: [
      ...narrow,
      ...left.map(
        (ratio) =>
          `${formatRatio(ratio)} of ${numKeyValueHeads} KV heads is left out: possible are ${shares.join(', ')}.`,
      ),
      ...notes,
    ],
  };
}
