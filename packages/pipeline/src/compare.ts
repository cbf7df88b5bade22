import { encodeDocuments, hashTexts, type TextDocument } from '@kvlr/calibration';
import { type Checkpoint, countParameters, type RunControl } from '@kvlr/core';
import type { RecipeInput } from '@kvlr/core/schemas';
import { cachedLogits } from '@kvlr/evaluation';
import {
  type ComparisonReport,
  type ComparisonRow,
  comparisonHtml,
  comparisonMarkdown,
  comparisonSvg,
  type RunEnvironment,
} from '@kvlr/report';
import { recordBlockInputs } from './calibration/record-block-inputs.ts';
import type { ComparedBudget, ComparedGrouping, ComparedRecipe } from './compare/candidate.ts';
import { compareCandidate } from './compare/compare-candidate.ts';
import { judgeOriginal } from './compare/judge-original.ts';
import { listCandidates } from './compare/list-candidates.ts';
import { orderRows } from './compare/order-rows.ts';
import { evaluationWindows } from './evaluation/evaluation-windows.ts';
import { reportContexts } from './evaluation/report-contexts.ts';
import { ModelRunner, type RunnerRequest } from './models/model-runner.ts';
import { methodName } from './recipe/method-name.ts';
import { formatRecipeYaml, parseRecipe } from './recipe/parse-recipe.ts';
import { once } from './run/once.ts';
import type { BudgetChoice, GroupingChoice, MethodChoice } from './run/plugin-choices.ts';
import { RunContext } from './run/run-context.ts';
import { statisticsKey } from './run/run-keys.ts';
import { gatherStatistics } from './stages/gather-statistics.ts';
import { inspectModel } from './stages/inspect-model.ts';
import { MemoryRunStore } from './store/memory-run-store.ts';
import { artefactNames, type RunStore } from './store/run-store.ts';

export interface ComparisonRequest extends RunControl {
  model: Checkpoint;
  /** The model's name for people. Default: its location. */
  modelName?: string;
  /** Where the model can be had again, for the recipe: a hub id, 'embedded', a path. Default: its location. */
  modelLocation?: string;
  /** Calibration, evaluation, grouping and element type of all rows; method and recovery of the row of the recipe itself. */
  recipe?: RecipeInput;
  texts: { calibration: readonly TextDocument[]; evaluation: readonly TextDocument[] };
  /** Closed forms to compare. Default: all. */
  methods?: readonly string[];
  /** Puts the recipe's recovery behind each of these methods too, instead of the row of the recipe itself. */
  reconstructEach?: boolean;
  /** Further rows, each with its own method and recovery, by their names; for example `bestRecipes`. */
  recipes?: ReadonlyMap<string, ComparedRecipe>;
  /**
   * Compares these groupings instead of methods: the recipe's method with each, before and, unless the recipe's recovery is
   * 'none', after block reconstruction.
   */
  groupings?: readonly ComparedGrouping[];
  /** Compares these budgets instead: the recipe's method with each, before and after block reconstruction likewise. */
  budgets?: readonly ComparedBudget[];
  /** Shares of the KV heads to keep. Default 1/2, 1/4, 1/8. Shares that do not divide are left out, and named in a note. */
  ratios?: readonly number[];
  /** Figures to hold the rows against, for example those of a prototype. */
  references?: (method: string, keyValueHeads: number) => ComparisonRow['reference'];
  store?: RunStore;
  /** Replaces the strategy that the recipe names. */
  grouping?: GroupingChoice;
  /** Replaces the budget policy that the recipe names; it holds for the row of the recipe itself. */
  budget?: BudgetChoice;
  /** Replaces the method that the recipe names. */
  method?: MethodChoice;
  /** Methods of the caller's own, by the names under which `methods` and `recipes` ask for them. */
  ownMethods?: ReadonlyMap<string, MethodChoice>;
  runtime?: RunnerRequest;
  environment?: () => Partial<RunEnvironment>;
}

/**
 * Closed forms at every ratio, without reconstruction, and the recipe with it, judged on the same windows against the same
 * base: the paper's ablation as one table. With `reconstructEach` every closed form before and after reconstruction, with
 * `groupings` every grouping, with `budgets` every budget. One pass gathers the statistics for all, and the base runs once. Finished rows stay in the
 * store; a comparison that was cut goes on with the next row.
 */
export async function compare(request: ComparisonRequest): Promise<ComparisonReport> {
  const { model, texts } = request;
  const modelName = request.modelName ?? model.location;
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  const recipe = parseRecipe(request.recipe);
  const { tokenizer, cache } = await context.stage('inspect', `Checks ${modelName}`, async () => {
    return { value: await inspectModel(model, { ...recipe, keyValueHeads: model.shape.numKeyValueHeads }) };
  });
  const ownMethods = new Map(request.ownMethods);
  if (request.method) ownMethods.set(methodName(recipe.method), request.method);
  const { candidates, notes } = listCandidates({ ...request, ownMethods }, recipe);
  const calibrationHash = await hashTexts(texts.calibration);
  const evaluationHash = await hashTexts(texts.evaluation);
  const source = { modelId: model.id, location: request.modelLocation ?? model.location, calibrationHash };
  await write(context, artefactNames.recipe, formatRecipeYaml({ ...recipe, source }));
  await context.beginLog();

  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  const calibrationIds = once(async () => encodeDocuments(texts.calibration, tokenizer));
  const statistics = await gatherStatistics(context, {
    model,
    runner,
    calibration: recipe.calibration,
    tokenIds: calibrationIds,
    textHash: calibrationHash,
    key: await statisticsKey(model.id, calibrationHash, recipe.calibration),
  });
  const windows = evaluationWindows(texts.evaluation, tokenizer, recipe.evaluation);
  const blockInputs = recordBlockInputs({ model, runner, calibration: recipe.calibration, tokenIds: calibrationIds });
  return runner.use(model, async (baseModel) => {
    const baseLogits = cachedLogits(baseModel);
    const { bytesPerElement } = cache;
    const { evaluation } = recipe;
    const base = await judgeOriginal(context, {
      ...{ model, windows, bytesPerElement, evaluation, evaluationHash },
      logits: baseLogits,
    });
    const rows: ComparisonRow[] = [];
    for (const candidate of candidates) {
      const row = await compareCandidate(context, {
        candidate,
        model,
        recipe,
        grouping: request.grouping,
        ownMethods,
        statistics,
        runner,
        baseLogits,
        windows,
        bytesPerElement,
        calibrationIds,
        blockInputs,
        workers: request.runtime?.workers,
        inputs: { modelId: model.id, calibrationHash, evaluationHash },
      });
      rows.push({ ...row, reference: request.references?.(row.method, row.keyValueHeads) });
    }
    return writeComparison(context, {
      title: titleOf(modelName, request),
      model: { name: modelName, shape: model.shape, parameters: countParameters(model) },
      base,
      rows,
      orders: orderRows(
        rows,
        base.windowLength,
        (name) => candidates.find((candidate) => candidate.name === name)?.usual,
      ),
      contexts: reportContexts(model.shape),
      environment: context.environment(`${runner.choice.backend} (${runner.choice.reason})`),
      notes: [
        ...notes,
        ...(request.budgets || (recipe.budget.policy === 'uniform' && request.budget === undefined)
          ? []
          : ['The budget of the recipe holds for its own rows; the others keep the same in every layer.']),
        'Times are those of each row alone, on the wall clock, all runs together where one was cut: only the statistics, which rows share, are left out.',
      ],
    });
  });
}

function titleOf(modelName: string, request: ComparisonRequest): string {
  if (request.groupings) return `${modelName}: every grouping at every ratio`;
  if (request.budgets) return `${modelName}: every budget at every ratio`;
  if (request.reconstructEach) return `${modelName}: every method before and after block reconstruction`;
  return `${modelName}: ${request.methods ? 'methods' : 'every method'} at every ratio`;
}

async function writeComparison(context: RunContext, report: ComparisonReport): Promise<ComparisonReport> {
  return context.stage('report', 'Report', async () => {
    await write(context, artefactNames.comparisonMarkdown, comparisonMarkdown(report));
    await write(context, artefactNames.comparisonHtml, comparisonHtml(report));
    await write(context, artefactNames.comparisonPicture, comparisonSvg(report));
    await write(context, artefactNames.comparisonData, `${JSON.stringify(report, undefined, 2)}\n`);
    return { value: report };
  });
}

function write(context: RunContext, name: string, text: string): Promise<void> {
  return context.store.write(name, new TextEncoder().encode(text));
}
