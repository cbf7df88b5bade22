import { CalibrationText, hashTexts, type SourceWindow, type TextDocument, windowsBySource } from '@kvlr/calibration';
import { type CompressionMethod, resolveMethod } from '@kvlr/compression';
import {
  type CacheSize,
  type Checkpoint,
  cacheSize,
  type GroupingStrategy,
  KvlrError,
  type StatisticsProvenance,
  type TensorDtype,
  type Tokenizer,
} from '@kvlr/core';
import type { Recipe, RecipeInput } from '@kvlr/core/schemas';
import { dividingShare, type ResultHeads, resolveHeads } from './heads.ts';
import { attentionDtype, cacheElementBytes } from './models/facts.ts';
import { foreseeOutcome, type Outcome, requireMethod } from './outcome.ts';
import { chooseReconstruction, fitWindows, parseRecipe, resolveDistillation, resolveRecovery } from './recipe.ts';
import { type ArtefactKey, artefactKey } from './run/artefact.ts';
import {
  type BudgetChoice,
  budgetPolicies,
  type GroupingChoice,
  groupingStrategies,
  type MethodChoice,
} from './run/plugin-choices.ts';
import { distillationWindows } from './stages/distillation.ts';
import { reconstructionWindows } from './stages/recovery.ts';
import { type ModelStatistics, requireModel } from './stages/statistics.ts';

/** What replaces the names that a recipe has. */
export interface PluginChoices {
  grouping?: GroupingChoice | undefined;
  method?: MethodChoice | undefined;
  budget?: BudgetChoice | undefined;
}

export interface RunTexts {
  /** Statistics and training see these. */
  calibration: readonly TextDocument[];
  /** The result is evaluated on these; they decide nothing. */
  evaluation: readonly TextDocument[];
}

export interface PlanRequest extends PluginChoices {
  model: Checkpoint;
  /** Where the model can be had again, for the recipe: a hub id, 'embedded', a path. Default: its location. */
  modelLocation?: string;
  recipe?: RecipeInput;
  texts: RunTexts;
  /** Statistics that were gathered before, of this model, instead of those that the recipe's calibration would give. */
  statistics?: ModelStatistics | undefined;
}

/** What a compression does, settled and checked before anything is computed. */
export interface CompressionPlan extends ResultHeads {
  model: Checkpoint;
  /** Complete: with a count of KV heads and their width, and with its source. */
  recipe: Recipe;
  method: CompressionMethod;
  strategy: GroupingStrategy;
  choices: PluginChoices;
  /** Whether anything asks for second moments over the calibration text: the weights alone may be enough. */
  needsStatistics: boolean;
  /** Whether they were gathered before. */
  givenStatistics: boolean;
  /** What the result will load into, and whether its merges are exact. */
  outcome: Outcome;
  /** What else is to be known before the work begins. */
  notes: string[];
  texts: PreparedTexts;
  /** Element type of the attention weights in the file, and the cache of the source at its size. */
  sourceDtype: TensorDtype;
  cache: CacheSize;
  keys: RunKeys;
}

/**
 * Plans a compression: what a dry run shows and what `compress` does. Whatever can be refused before work begins is refused here.
 *
 * @throws KvlrError 'recipe-invalid', 'heads-not-divisible', 'unsupported-feature' (a model that kvlr has compressed into a layout of
 *   its own before), 'tokenizer-mismatch', 'text-empty', 'text-too-short', 'usage' for unknown names.
 */
export async function planCompression(request: PlanRequest): Promise<CompressionPlan> {
  const { model } = request;
  const recipe = fitWindows(parseRecipe(request.recipe), model.shape);
  checkModel(model, recipe);
  requireMethod(methodOf({ ...request, recipe }), model);
  headsOf({ ...request, recipe });
  const texts = await prepareTexts(await model.tokenizer(), request.texts, recipe.evaluation);
  const plan = await planWithTexts({ ...request, recipe, texts });
  checkWindows(texts.calibration, plan.recipe, request);
  return plan;
}

/** The same for texts that are prepared and a model that is checked: many plans may share them. */
export async function planWithTexts(
  request: Omit<PlanRequest, 'recipe' | 'texts'> & { recipe: Recipe; texts: PreparedTexts },
): Promise<CompressionPlan> {
  const { model, texts, grouping, method, budget, statistics } = request;
  const recipe = chooseReconstruction(request.recipe, model.shape);
  if (statistics) requireModel(statistics, { id: model.id, name: model.location }, 'what was given');
  const { note, ...heads } = headsOf(request);
  const sourceDtype = attentionDtype(model);
  const hashes = { groupingHash: grouping?.hash, methodHash: method?.hash, budgetHash: budget?.hash };
  const { calibrationHash, evaluationHash } = texts;
  const location = request.modelLocation ?? model.location;
  return {
    model,
    recipe: { ...recipe, ...heads, source: { modelId: model.id, location, calibrationHash, ...hashes } },
    ...heads,
    method: methodOf(request),
    strategy: grouping?.strategy ?? groupingStrategies.get(recipe.grouping).strategy,
    choices: { grouping, method, budget },
    needsStatistics: needsStatistics(request),
    givenStatistics: statistics !== undefined,
    outcome: foreseeOutcome({
      ...{ model, ...heads, method: methodOf(request), uniform: isUniform(request) },
      contiguous: grouping === undefined && recipe.grouping === 'contiguous',
    }),
    notes: note === undefined ? [] : [note],
    texts,
    sourceDtype,
    cache: cacheSize(model.shape, cacheElementBytes(sourceDtype)),
    keys: await runKeys({
      modelId: model.id,
      provenance: statistics?.provenance,
      calibrationHash,
      evaluationHash,
      ...hashes,
      recipe,
      ...heads,
    }),
  };
}

type Deciding = PluginChoices & { model: Checkpoint; recipe: Recipe };

function headsOf(request: Deciding): ResultHeads & { note?: string } {
  const { model, recipe } = request;
  const { note, keyValueHeads } = dividingShare(model.shape, recipe.keyValueHeads, recipe.headWidth);
  const heads = resolveHeads({
    model,
    recipe: { ...recipe, keyValueHeads },
    method: methodOf(request),
    uniform: isUniform(request),
  });
  return { ...heads, ...(note !== undefined && { note }) };
}

function methodOf({ method, recipe }: Deciding): CompressionMethod {
  return method?.method ?? resolveMethod(recipe.method);
}

/** What users bring may ask for everything. */
function needsStatistics(request: Deciding): boolean {
  const { grouping, budget, recipe } = request;
  const named = groupingStrategies.has(recipe.grouping) ? groupingStrategies.get(recipe.grouping) : undefined;
  const policy = budgetPolicies.has(recipe.budget.policy) ? budgetPolicies.get(recipe.budget.policy) : undefined;
  return (
    methodOf(request).needsStatistics ||
    recipe.keyScales === 'balanced' ||
    grouping !== undefined ||
    (named?.needsStatistics ?? true) ||
    budget !== undefined ||
    (policy?.needs ?? 'statistics') === 'statistics'
  );
}

function isUniform({ budget, recipe }: Deciding): boolean {
  return budget === undefined && recipe.budget.policy === 'uniform';
}

/** Texts of a run, as its stages read them. */
export interface PreparedTexts {
  calibration: CalibrationText;
  evaluation: readonly SourceWindow[];
  calibrationHash: string;
  evaluationHash: string;
}

/** Cuts the windows that results are evaluated on; throws 'text-too-short' where there is none, and 'text-empty'. */
export async function prepareTexts(
  tokenizer: Tokenizer,
  texts: RunTexts,
  { windowLength: length, windowsPerSource }: Recipe['evaluation'],
): Promise<PreparedTexts> {
  if (texts.evaluation.length === 0) {
    throw new KvlrError('text-empty', {
      message: 'expected documents, got none',
      hint: 'Pass text to evaluate on.',
      where: { argument: 'evaluation text' },
    });
  }
  const calibration = new CalibrationText(texts.calibration, tokenizer);
  return {
    calibration,
    evaluation: windowsBySource(texts.evaluation, tokenizer, { length, windowsPerSource }),
    calibrationHash: await calibration.hash(),
    evaluationHash: await hashTexts(texts.evaluation),
  };
}

/** Throws where a model cannot be compressed, or a recipe has windows that are longer than its context. */
export function checkModel({ shape, location }: Checkpoint, recipe: Recipe): void {
  const native = shape.layers.find(({ cache }) => cache.keys !== 'stock' || cache.keySlots !== cache.valueSlots);
  if (native !== undefined) {
    const { keys, keySlots, valueSlots } = native.cache;
    throw new KvlrError('unsupported-feature', {
      message: `expected a model with ordinary grouped-query attention, got ${keys} keys in ${keySlots} slots with ${valueSlots} value slots`,
      hint: 'Compress the model that this one was made from.',
      where: { file: location },
    });
  }
  const { calibration, recovery, evaluation } = recipe;
  const reconstructed = recovery.preset === 'none' ? 0 : recovery.windowLength;
  const distilled = recovery.distillation?.windowLength ?? 0;
  const longest = Math.max(calibration.windowLength, reconstructed, distilled, evaluation.windowLength - 1);
  const positions = shape.maxPositionEmbeddings;
  if (longest <= positions) return;
  throw new KvlrError('recipe-invalid', {
    message: `expected windows of at most ${positions} tokens, the model's context, got ${longest}`,
    hint: 'Lower the entries windowLength of the recipe.',
    where: { argument: 'windowLength' },
    data: { maxPositionEmbeddings: positions, windowLength: longest },
  });
}

/** Throws 'text-too-short' where the calibration text has not enough tokens for a stage to come. */
export function checkWindows(
  text: CalibrationText,
  { calibration, recovery, budget }: Pick<Recipe, 'calibration' | 'recovery' | 'budget'>,
  choices: PluginChoices,
): void {
  const sampled = { count: calibration.windows, length: calibration.windowLength, seed: calibration.seed };
  text.sample(sampled);
  reconstructionWindows(text, recovery);
  distillationWindows(text, recovery);
  const measures = choices.budget === undefined && budgetPolicies.get(budget.policy).needs === 'measurement';
  const measured = { count: budget.windows, length: budget.windowLength, seed: budget.seed };
  if (measures) text.heldOut(measured, sampled);
}

/** What decides each artefact of a run: every key depends on those before it. */
interface RunKeys {
  statistics: ArtefactKey;
  /** What layers lose when they are compressed alone: shared by runs with other totals and policies. */
  losses: ArtefactKey;
  /** The keys behind it depend on it only where the budget is not the uniform one. */
  budget: ArtefactKey;
  grouping: ArtefactKey;
  factors: ArtefactKey;
  recovery: ArtefactKey;
  evaluation: ArtefactKey;
}

interface RunInputs extends ResultHeads {
  modelId: string;
  /** Of statistics that were gathered before. */
  provenance: StatisticsProvenance | undefined;
  calibrationHash: string;
  evaluationHash: string;
  /** Hashes of modules of the caller's own. */
  groupingHash: string | undefined;
  methodHash: string | undefined;
  budgetHash: string | undefined;
  recipe: Recipe;
}

/** The key of the statistics, which runs with different recipes share. */
export function statisticsKey(
  modelId: string,
  calibrationHash: string,
  calibration: Recipe['calibration'],
): Promise<ArtefactKey> {
  return artefactKey({ modelId, calibrationHash }, calibration);
}

/** The keys of all artefacts of a run. They are known before anything is computed. */
async function runKeys(inputs: RunInputs): Promise<RunKeys> {
  const { modelId, calibrationHash, evaluationHash, groupingHash, methodHash, recipe, keyValueHeads } = inputs;
  const statistics =
    inputs.provenance === undefined
      ? await statisticsKey(modelId, calibrationHash, recipe.calibration)
      : await artefactKey({ modelId, provenance: inputs.provenance }, undefined);
  const { policy, ...measurement } = recipe.budget;
  const losses = await artefactKey(
    { statistics, groupingHash, methodHash },
    { grouping: recipe.grouping, method: recipe.method, measurement },
  );
  const budget = await artefactKey({ losses, budgetHash: inputs.budgetHash }, { policy, keyValueHeads });
  const spreads = policy !== 'uniform' || inputs.budgetHash !== undefined;
  const grouping = await artefactKey(
    { statistics, groupingHash, ...(measuresMerges(inputs) && { methodHash, method: recipe.method }) },
    {
      ...{ grouping: recipe.grouping, keyValueHeads, ...(spreads && { budget }) },
      ...(inputs.headWidth > 1 && { headWidth: inputs.headWidth }),
    },
  );
  const { headWidth } = inputs;
  const factors = await artefactKey(
    { grouping, methodHash },
    { method: recipe.method, ...(headWidth > 1 && { headWidth }) },
  );
  const recovery = await artefactKey({ factors, calibrationHash }, resolveRecovery(recipe.recovery));
  // Only a recipe that has a distillation names it in the key: those from before there was any keep theirs.
  const distillation = resolveDistillation(recipe.recovery);
  const scaled = recipe.keyScales === 'as-is' ? [] : [{ keyScales: recipe.keyScales }];
  const evaluated = [recipe.evaluation, recipe.dtype, ...(distillation ? [distillation] : []), ...scaled];
  const evaluation = await artefactKey({ recovery, evaluationHash }, evaluated);
  return { statistics, losses, budget, grouping, factors, recovery, evaluation };
}

/** Whether the grouping may ask what the method's merges cost, so that it depends on the method. */
function measuresMerges({ recipe, groupingHash }: RunInputs): boolean {
  return groupingHash !== undefined || groupingStrategies.get(recipe.grouping).needsMeasurement;
}
