import { applyCompression, describeEngines, roundModel, type WeightDtype } from '@kvlr/checkpoint';
import { cacheSize, type EventListener, type ModelSource, type RunControl } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type CompressionReport, formatBytes, modelCard, type RunEnvironment } from '@kvlr/report';
import { estimateCompression } from './estimate.ts';
import { requireRoom } from './memory-estimate.ts';
import { ModelRunner, type RunnerRequest } from './models/runner.ts';
import type { WindowMeans } from './models/window-means.ts';
import type { ModelWorkers } from './models/workers.ts';
import { outcomeNotes } from './outcome.ts';
import { type CompressionPlan, type PlanRequest, planCompression } from './plan.ts';
import { formatRecipeYaml } from './recipe.ts';
import { RunContext, type Stage, type StageTime } from './run/context.ts';
import { artefactNames, MemoryRunStore, type RunStore, writeText } from './run/store.ts';
import { measureAlternatives } from './stages/alternatives.ts';
import { type CacheBudget, chooseBudget } from './stages/budget.ts';
import { type Evaluation, evaluateResult } from './stages/evaluation.ts';
import { computeFactors } from './stages/factors.ts';
import { chooseGroups } from './stages/grouping.ts';
import { withBalancedKeys } from './stages/key-scales.ts';
import { type Recordings, recordOriginal } from './stages/recordings.ts';
import { type Recovery, recoverStudent } from './stages/recovery.ts';
import { writeReport } from './stages/report.ts';
import { writeSamples } from './stages/samples.ts';
import { gatherStatistics, type ModelStatistics } from './stages/statistics.ts';

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

/** What every run that ends in a checkpoint is given besides its inputs. */
export interface RunSettings extends RunControl {
  /** Keeps what resuming needs. Default: memory, which forgets. */
  store?: RunStore;
  runtime?: RunnerRequest;
  /** Puts the finished checkpoint in its place, as the last thing of the run. */
  write?: (finished: FinishedModel) => Promise<void>;
  /** What the report says of the machine; asked for when the report is made. */
  environment?: () => Partial<RunEnvironment>;
  /** Throws where the model is no longer what it was when the run began. */
  checkSource?: () => Promise<void>;
}

export interface CompressionRequest extends PlanRequest, RunSettings {
  /** The model's name for people. Default: its location. */
  modelName?: string;
  /** The command line that makes the run again, for the report. */
  repeat?: string;
  /** Whether the report sets the result beside its closed form, a refit and caches of fewer bits, see `measureAlternatives`. Default false. */
  alternatives?: boolean;
  /** Licence of the weights as their owner states it, for the model card. */
  modelLicence?: string;
  /** Memory of the machine. Where the estimate is above it, a warning says so before the work begins. */
  machineMemoryBytes?: number;
}

export interface CompressionResult {
  recipe: Recipe;
  /** The compressed model in F32, and as it is after rounding to the element type it is written in. */
  model: ModelSource;
  writtenModel: ModelSource;
  /** How much of its cache each layer keeps. */
  budget: CacheBudget;
  /** Second moments of the original on the calibration text, where anything asked for them. */
  statistics: ModelStatistics | undefined;
  /** The KV heads of each layer that share one. */
  groups: number[][][];
  /** Absent where the recipe evaluates no windows. */
  evaluation: Evaluation | undefined;
  report: CompressionReport;
  stages: StageTime[];
}

/**
 * Gives a model fewer KV heads: statistics, budget, grouping, factors, recovery, evaluation, report. What `kvlr compress` does.
 * Stages whose artefacts lie in the store, made from the same inputs, are skipped.
 *
 * @throws KvlrError as `planCompression` does; 'aborted' when the signal fires. What was finished by then stays in the store.
 */
export async function compress(request: CompressionRequest): Promise<CompressionResult> {
  const { model } = request;
  const modelName = request.modelName ?? model.location;
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  const plan = await context.stage('inspect', `Checks ${modelName}`, async (stage) => {
    const planned = await planCompression(request);
    describePlan(planned, stage);
    return planned;
  });
  const { recipe, texts, keys } = plan;
  const recipeYaml = formatRecipeYaml(recipe);
  await writeText(context.store, artefactNames.recipe, recipeYaml);
  await context.beginLog();

  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  checkMemory(plan, runner.means, request.machineMemoryBytes, context.onEvent);
  const original = { model, runner, text: texts.calibration, calibration: recipe.calibration };
  const textHash = texts.calibrationHash;
  const gather = () => gatherStatistics(context, { ...original, textHash, key: keys.statistics });
  const statistics = plan.needsStatistics ? (request.statistics ?? (await gather())) : undefined;
  const recordings = recordOriginal(original);
  const workers = request.runtime?.workers;
  const compressed = await compressLayers(context, plan, { statistics, runner, recordings, workers });

  const dtype = recipe.dtype === 'source' ? undefined : recipe.dtype;
  const written = roundModel(compressed.model, model, dtype);
  const { bytesPerElement } = plan.cache;
  const windows = texts.evaluation;
  const pair = { base: model, exact: compressed.model, written, dtype: dtype ?? plan.sourceDtype, bytesPerElement };
  const evaluation =
    windows.length === 0
      ? undefined
      : await evaluateResult(context, { ...pair, runner, windows, key: keys.evaluation });
  const alternatives =
    evaluation && request.alternatives
      ? await measureAlternatives(context, {
          ...{ runner, base: model, closedForm: compressed.closedForm, written, windows, bytesPerElement },
          ...{ settings: recipe.recovery, text: texts.calibration, native: runner.nativeReconstruction },
          key: keys.evaluation,
        })
      : undefined;
  const { budget, groups, history, course } = compressed;
  const samples = async () => {
    const tokenizer = await model.tokenizer();
    return writeSamples({ base: model, result: written, tokenizer, windows, runner, signal: context.signal });
  };
  const report = await writeReport(context, {
    ...{ modelName, modelLicence: request.modelLicence, model, resultShape: written.shape },
    ...{
      recipe,
      statistics,
      budget,
      groups,
      history,
      distillation: course,
      samples,
      alternatives,
      repeat: request.repeat,
    },
    evaluation: evaluation ?? {
      base: { modelId: model.id, cache: plan.cache },
      result: { modelId: written.id, cache: cacheSize(written.shape, bytesPerElement) },
    },
    notes: [...plan.notes, ...outcomeNotes(plan.outcome)],
    environment: context.environment(runner.description),
  });
  await writeCheckpoint(context, request, { model: compressed.model, dtype, recipeYaml, modelCard: modelCard(report) });
  const { model: result } = compressed;
  const { stages } = context;
  return { recipe, model: result, writtenModel: written, budget, statistics, groups, evaluation, report, stages };
}

function describePlan({ model, keyValueHeads, cache, outcome, notes }: CompressionPlan, stage: Stage): void {
  const { numLayers, numAttentionHeads, numKeyValueHeads } = model.shape;
  if (keyValueHeads === numKeyValueHeads) {
    const message = `All ${numKeyValueHeads} KV heads are kept: the cache of the result is as large as before`;
    stage.control.onEvent?.({ type: 'warning', message, data: { numKeyValueHeads } });
  }
  const lines = [`Loads into ${describeEngines(outcome.loadsInto)}`, ...notes];
  if (outcome.approximation) lines.push(`Keys are merged approximately: ${outcome.approximation}`);
  for (const message of lines) stage.control.onEvent?.({ type: 'note', message });
  const heads = `${numLayers} layers, ${numAttentionHeads} query heads, ${numKeyValueHeads} KV heads`;
  stage.detail = `${heads}, ${cache.bytesPerToken} bytes of KV cache per token`;
}

/** Refuses what cannot run (see `requireRoom`), and warns where a run is likely to take more memory than there is. */
export function checkMemory(
  plan: CompressionPlan,
  means: WindowMeans,
  machineMemoryBytes: number | undefined,
  onEvent: EventListener | undefined,
): void {
  requireRoom(plan, means);
  const { memoryBytes } = estimateCompression(plan, means);
  if (machineMemoryBytes === undefined || memoryBytes <= machineMemoryBytes) return;
  const message = `This is estimated to take ${formatBytes(memoryBytes)} of memory; the machine has ${formatBytes(machineMemoryBytes)}`;
  onEvent?.({ type: 'warning', message, data: { memoryBytes, machineMemoryBytes } });
}

/** What the stages between statistics and evaluation work with, whatever they are to do. */
export interface CompressionMeans {
  /** Absent where nothing asks for them. */
  statistics: ModelStatistics | undefined;
  runner: ModelRunner;
  recordings: Recordings;
  workers: ModelWorkers | undefined;
}

export interface CompressedModel extends Recovery {
  /** The model before anything followed the closed forms. */
  closedForm: ModelSource;
  budget: CacheBudget;
  groups: number[][][];
}

/** The stages between statistics and evaluation: budget, grouping, factors, recovery. */
export async function compressLayers(
  context: RunContext,
  plan: CompressionPlan,
  { statistics, runner, recordings, workers }: CompressionMeans,
): Promise<CompressedModel> {
  const { model, recipe, keyValueHeads, headWidth, method, strategy, keys } = plan;
  const text = plan.texts.calibration;
  const { blockInputs, attendedMoments } = recordings;
  const grouping = { model, statistics, strategy, label: recipe.grouping, method, headWidth, blockInputs, workers };
  const budget = await chooseBudget(context, {
    ...{ model, runner, text, calibration: recipe.calibration, grouping, keyValueHeads },
    ...{ settings: recipe.budget, choice: plan.choices.budget, key: keys.budget, lossKey: keys.losses },
  });
  const ranks = budget.unit === 'ranks' ? budget.layers : undefined;
  const counts = budget.layers.map((layer) => (ranks ? keyValueHeads : layer.keys));
  const groups = await chooseGroups(context, { source: grouping, counts, key: keys.grouping });
  const layers = await computeFactors(context, {
    ...{ model, statistics, groups, method, headWidth, ranks, attendedMoments, key: keys.factors },
  }).finally(() => recordings.close());
  const student = applyCompression(model, layers);
  const settings = recipe.recovery;
  const recovered = await recoverStudent(context, {
    ...{ teacher: model, student, settings, text, key: keys.recovery },
    ...{ native: runner.nativeTraining, nativeBlocks: runner.nativeReconstruction, backend: runner.choice.backend },
    streams: runner.streams,
  });
  const result =
    recipe.keyScales === 'balanced' ? await withBalancedKeys(recovered.model, statistics!) : recovered.model;
  return { ...recovered, model: result, closedForm: student, budget, groups };
}

/** The last stage, where the caller keeps checkpoints. */
export async function writeCheckpoint(
  context: RunContext,
  { write }: RunSettings,
  finished: FinishedModel,
): Promise<void> {
  if (write) await context.stage('write', 'The checkpoint', () => write(finished));
}
