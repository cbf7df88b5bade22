import { encodeDocuments, hashTexts, type TextDocument } from '@kvlr/calibration';
import type { WeightDtype } from '@kvlr/checkpoint';
import { resolveMethod } from '@kvlr/compression';
import type { Checkpoint, ModelSource, RunControl } from '@kvlr/core';
import type { Recipe, RecipeInput } from '@kvlr/core/schemas';
import { resolveGrouping } from '@kvlr/grouping';
import { type CompressionReport, modelCard, type RunEnvironment } from '@kvlr/report';
import type { CacheBudget } from './budget/cache-budget.ts';
import { recordBlockInputs } from './calibration/record-block-inputs.ts';
import { evaluationWindows } from './evaluation/evaluation-windows.ts';
import { ModelRunner, type RunnerRequest } from './models/model-runner.ts';
import { roundModel } from './models/round-model.ts';
import { formatRecipeYaml, parseRecipe } from './recipe/parse-recipe.ts';
import { once } from './run/once.ts';
import type { BudgetChoice, GroupingChoice, MethodChoice } from './run/plugin-choices.ts';
import { RunContext, type StageTime } from './run/run-context.ts';
import { runKeys } from './run/run-keys.ts';
import { compressLayers } from './stages/compress-layers.ts';
import { gatherStatistics } from './stages/gather-statistics.ts';
import { inspectModel } from './stages/inspect-model.ts';
import { type Judgement, judge } from './stages/judge.ts';
import { writeReport } from './stages/write-report.ts';
import { MemoryRunStore } from './store/memory-run-store.ts';
import { artefactNames, type RunStore } from './store/run-store.ts';

/** The compressed model, ready to be written. */
export interface FinishedModel {
  /** Changed tensors are in F32. */
  model: ModelSource;
  /** One type for all weights; undefined when each keeps the type it has in the source. */
  dtype: WeightDtype | undefined;
  /** These belong beside the weights: recipe.yaml, and README.md with what was measured. */
  recipeYaml: string;
  modelCard: string;
}

export interface CompressionRequest extends RunControl {
  model: Checkpoint;
  /** The model's name for people. Default: its location. */
  modelName?: string;
  /** Where the model can be had again, for the recipe: a hub id, 'embedded', a path. Default: its location. */
  modelLocation?: string;
  /** Licence of the weights as their owner states it, for the model card. */
  modelLicence?: string;
  recipe?: RecipeInput;
  texts: {
    /** Statistics and reconstruction see these. */
    calibration: readonly TextDocument[];
    /** The result is judged on these; they decide nothing. */
    evaluation: readonly TextDocument[];
  };
  /** Keeps what resuming needs. Default: memory, which forgets. */
  store?: RunStore;
  /** Replaces the strategy that the recipe names. */
  grouping?: GroupingChoice;
  /** Replaces the method that the recipe names. */
  method?: MethodChoice;
  /** Replaces the budget policy that the recipe names. */
  budget?: BudgetChoice;
  runtime?: RunnerRequest;
  /** Puts the finished checkpoint in its place, as the last thing of the run. */
  write?: (finished: FinishedModel) => Promise<void>;
  /** What the report says of the machine; asked for when the report is made. */
  environment?: () => Partial<RunEnvironment>;
}

export interface CompressionResult {
  recipe: Recipe;
  /** The compressed model in F32, and as it is after rounding to the element type it is written in. */
  model: ModelSource;
  writtenModel: ModelSource;
  /** How much of its cache each layer keeps. */
  budget: CacheBudget;
  judgement: Judgement;
  report: CompressionReport;
  stages: StageTime[];
}

/**
 * Gives a model fewer KV heads: statistics, grouping, factors, block reconstruction, judgement, report. What
 * `kvlr compress` does. Stages whose artefacts lie in the store, made from the same inputs, are skipped.
 *
 * @throws KvlrError; 'aborted' when the signal fires. What was finished by then stays in the store.
 */
export async function compress(request: CompressionRequest): Promise<CompressionResult> {
  const { model, texts } = request;
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  const recipe = parseRecipe(request.recipe);
  const { keyValueHeads, tokenizer, sourceDtype, cache } = await context.stage(
    'inspect',
    `Checks ${request.modelName ?? model.location}`,
    async ({ onEvent }) => {
      const value = await inspectModel(model, recipe);
      const { numLayers, numAttentionHeads, numKeyValueHeads } = model.shape;
      if (value.keyValueHeads === numKeyValueHeads) {
        const message = `All ${numKeyValueHeads} KV heads are kept: the cache of the result is as large as before`;
        onEvent?.({ type: 'warning', message, data: { numKeyValueHeads } });
      }
      const heads = `${numLayers} layers, ${numAttentionHeads} query heads, ${numKeyValueHeads} KV heads`;
      return { value, detail: `${heads}, ${value.cache.bytesPerToken} bytes of KV cache per token` };
    },
  );
  const method = request.method?.method ?? resolveMethod(recipe.method);
  const strategy = request.grouping?.strategy ?? resolveGrouping(recipe.grouping);
  const calibrationHash = await hashTexts(texts.calibration);
  const keys = await runKeys({
    modelId: model.id,
    calibrationHash,
    evaluationHash: await hashTexts(texts.evaluation),
    groupingHash: request.grouping?.hash,
    methodHash: request.method?.hash,
    budgetHash: request.budget?.hash,
    recipe,
    keyValueHeads,
  });
  const finishedRecipe: Recipe = {
    ...recipe,
    keyValueHeads,
    source: {
      modelId: model.id,
      location: request.modelLocation ?? model.location,
      calibrationHash,
      groupingHash: request.grouping?.hash,
      methodHash: request.method?.hash,
      budgetHash: request.budget?.hash,
    },
  };
  const recipeYaml = formatRecipeYaml(finishedRecipe);
  await context.store.write(artefactNames.recipe, new TextEncoder().encode(recipeYaml));
  await context.beginLog();

  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  const calibrationIds = once(async () => encodeDocuments(texts.calibration, tokenizer));
  const statistics = await gatherStatistics(context, {
    model,
    runner,
    calibration: recipe.calibration,
    tokenIds: calibrationIds,
    textHash: calibrationHash,
    key: keys.statistics,
  });
  const {
    model: compressed,
    budget,
    history,
    course,
  } = await compressLayers(context, {
    ...{ model, recipe, keyValueHeads, method, strategy, statistics, runner, keys },
    budget: request.budget,
    workers: request.runtime?.workers,
    blockInputs: recordBlockInputs({ model, runner, calibration: recipe.calibration, tokenIds: calibrationIds }),
    tokenIds: calibrationIds,
  });
  const dtype = recipe.dtype === 'source' ? undefined : recipe.dtype;
  const written = await roundModel(compressed, model, dtype);
  const judgement = await judge(context, {
    runner,
    base: model,
    exact: compressed,
    written,
    dtype: dtype ?? sourceDtype,
    bytesPerElement: cache.bytesPerElement,
    windows: async () => evaluationWindows(texts.evaluation, tokenizer, recipe.evaluation),
    key: keys.evaluation,
  });
  const report = await writeReport(context, {
    modelName: request.modelName ?? model.location,
    modelLicence: request.modelLicence,
    model,
    resultShape: written.shape,
    budget,
    recipe: finishedRecipe,
    statistics,
    judgement,
    history,
    distillation: course,
    environment: context.environment(`${runner.choice.backend} (${runner.choice.reason})`),
  });
  if (request.write) {
    const { write } = request;
    await context.stage('write', 'The checkpoint', async () => {
      await write({ model: compressed, dtype, recipeYaml, modelCard: modelCard(report) });
      return { value: undefined };
    });
  }
  return {
    recipe: finishedRecipe,
    model: compressed,
    writtenModel: written,
    budget,
    judgement,
    report,
    stages: context.stages,
  };
}
