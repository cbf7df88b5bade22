import { resolveMethod } from '@kvlr/compression';
import { type Checkpoint, cacheSize, type EvaluationResult, type LogitSource } from '@kvlr/core';
import type { Recipe, RecipeInput } from '@kvlr/core/schemas';
import { evaluate } from '@kvlr/evaluation';
import type { CompressionMeans } from '../compress.ts';
import { attentionDtype, cacheElementBytes } from '../models/facts.ts';
import { ModelRunner, type RunnerRequest } from '../models/runner.ts';
import { requireMethod } from '../outcome.ts';
import { checkModel, checkWindows, type PreparedTexts, prepareTexts, type RunTexts, statisticsKey } from '../plan.ts';
import { fitWindows, formatRecipeYaml, parseRecipe } from '../recipe.ts';
import { artefactKey, jsonCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames, writeText } from '../run/store.ts';
import { recordOriginal } from '../stages/recordings.ts';
import { gatherStatistics, type ModelStatistics } from '../stages/statistics.ts';
import type { ComparedRow } from './rows.ts';

/** What every comparison of compressions starts from. */
export interface ComparedModel {
  model: Checkpoint;
  /** The model's name for people. Default: its location. */
  modelName?: string | undefined;
  /** Where the model can be had again, for the recipe. Default: its location. */
  modelLocation?: string | undefined;
  /** What all rows have that do not say otherwise: calibration, evaluation, element type. */
  recipe?: RecipeInput | undefined;
  texts: RunTexts;
  runtime?: RunnerRequest | undefined;
}

/** What the rows of a comparison share. */
export interface BegunComparison {
  recipe: Recipe;
  texts: PreparedTexts;
  means: CompressionMeans & { statistics: ModelStatistics };
}

type CheckedRow = Pick<ComparedRow, 'entries' | 'choices'>;

/** Refuses what cannot be compared before anything is computed. */
export async function checkComparison(
  { model, recipe: asked, texts }: ComparedModel,
  rows: readonly CheckedRow[],
): Promise<Pick<BegunComparison, 'recipe' | 'texts'>> {
  const recipe = fitWindows(parseRecipe(asked), model.shape);
  checkModel(model, recipe);
  const prepared = await prepareTexts(await model.tokenizer(), texts, recipe.evaluation);
  for (const { entries, choices } of rows) {
    checkWindows(prepared.calibration, { ...recipe, ...entries }, choices);
    requireMethod(choices.method?.method ?? resolveMethod(entries.method), model);
  }
  return { recipe, texts: prepared };
}

/** Checks the comparison, writes the recipe, and gathers the statistics that all rows share. */
export async function beginComparison(
  context: RunContext,
  request: ComparedModel,
  rows: readonly CheckedRow[],
): Promise<BegunComparison> {
  const { model, modelName = model.location } = request;
  const { recipe, texts } = await context.stage('inspect', `Checks ${modelName}`, () => checkComparison(request, rows));
  const { calibration: text, calibrationHash } = texts;
  const source = { modelId: model.id, location: request.modelLocation ?? model.location, calibrationHash };
  await writeText(context.store, artefactNames.recipe, formatRecipeYaml({ ...recipe, source }));
  await context.beginLog();

  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  const original = { model, runner, text, calibration: recipe.calibration };
  const key = await statisticsKey(model.id, calibrationHash, recipe.calibration);
  const statistics = await gatherStatistics(context, { ...original, textHash: calibrationHash, key });
  const recordings = recordOriginal(original);
  return { recipe, texts, means: { statistics, runner, recordings, workers: request.runtime?.workers } };
}

/** The original's own scores, which all rows are held against. */
export async function evaluateOriginal(
  context: RunContext,
  request: { model: Checkpoint; recipe: Recipe; texts: PreparedTexts; baseLogits: LogitSource },
): Promise<EvaluationResult> {
  const { model, recipe, texts, baseLogits } = request;
  const stage = {
    stage: 'evaluation' as const,
    title: 'The original',
    name: artefactNames.comparisonBase,
    key: await artefactKey({ modelId: model.id, evaluationHash: texts.evaluationHash }, recipe.evaluation),
    codec: jsonCodec<EvaluationResult>(),
    detail: ({ perplexity }: EvaluationResult) => `perplexity ${perplexity.value.toFixed(2)}`,
  };
  const cache = cacheSize(model.shape, cacheElementBytes(attentionDtype(model)));
  return context.cached(stage, ({ control }) =>
    evaluate({ ...control, model: baseLogits, modelId: model.id, windows: texts.evaluation, cache }),
  );
}
