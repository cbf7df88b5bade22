import { plannedBytes, type WeightDtype } from '@kvlr/checkpoint';
import { countParameters, type DecoderShape } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { refitsAlone, refitsOutput, trainsNatively } from '@kvlr/recovery';
import { divisorsOf, type HeadPrice, priceOfHeads, type ResultHeads } from './heads.ts';
import { spilledBytes, stageMemory } from './memory-estimate.ts';
import { estimateDistillation, type ModelSize, modelSize, trainingSpeed } from './models/training-estimate.ts';
import type { CompressionPlan } from './plan.ts';
import type { ResolvedRecovery } from './recipe.ts';
import { budgetPolicies } from './run/plugin-choices.ts';
import { alternativesWork } from './stages/alternatives.ts';
import { recoveryOn } from './stages/recovery.ts';
import { samplesTokens } from './stages/samples.ts';
import {
  evaluationSeconds,
  evaluationSize,
  forwardOperations,
  type ProbedMeans,
  plainSpeed,
  readingSeconds,
  singleTokensSeconds,
  statisticsSeconds,
  windowSpeeds,
} from './window-estimate.ts';

/** What a compression would take. Estimates, for planning: times within a factor of about three, nearer where speeds were probed. */
export interface CompressionEstimate extends ResultHeads {
  /** What heads cost beside the bytes of the cache. */
  price: HeadPrice;
  /** Largest memory at one time. */
  memoryBytes: number;
  outputBytes: number;
  runDirectoryBytes: number;
  /** Of streams that lie in temporary files. */
  temporaryBytes: number;
  stages: { title: string; seconds: number }[];
  seconds: number;
  /** Arithmetic speed that the times assume, floating point operations per second. */
  assumedSpeed: number;
  /** The same for windows of calibration and evaluation: another where they run in native code. */
  windowSpeed: number;
  /** The same for attention blocks in training, where there are any. */
  blockSpeed?: number | undefined;
}

/** Speed of attention in training in native code, one window after another on all cores: measured as above. */
const nativeBlockSpeed = 60e9;
/** Numbers that a step of Adam moves a second, on WASM: measured on one core. */
const adamSpeed = 40e6;
/** Speed of training end to end by that of windows, in native code: measured at 30 million parameters. */
const distillationShare = 0.6;
/** Speed of ridge regressions by that of second moments, of which half are mirrored, not computed: measured at widths of 2,048. */
const solvingShare = 0.3;

/** What estimates read of a plan: without a method the factors are there already, as in a recovery. */
export type EstimatedPlan = Pick<
  CompressionPlan,
  'model' | 'recipe' | 'texts' | 'keyValueHeads' | 'headWidth' | 'needsStatistics' | 'givenStatistics'
> &
  Partial<Pick<CompressionPlan, 'method'>>;

/**
 * Estimates memory, disk and time of a planned compression from shapes alone.
 *
 * @param given What runs it: by default one thread of the backend, streams in memory, usual speeds.
 */
export function estimateCompression(
  plan: EstimatedPlan,
  given: Pick<ProbedMeans, 'backend'> & Partial<ProbedMeans>,
): CompressionEstimate {
  const { model, recipe, keyValueHeads, headWidth } = plan;
  const { shape } = model;
  const means: ProbedMeans = { ...given, native: given.native ?? false, threads: given.threads ?? 1 };
  const { backend, native, probed } = means;
  const { one: speed, windows: windowSpeed, moments } = windowSpeeds(means);
  const size = modelSize(model);
  const readSeconds = readingSeconds(size);
  const factorsSeconds = factorOperations(plan) / plainSpeed;
  const { sources: evaluationSources } = evaluationSize(plan);
  const compared = alternativesWork(recipe, countParameters(model), evaluationSources);
  const measured = recipe.budget.windowLength - 1;
  const measuredTokens = recipe.budget.windows * measured;
  const price = priceOfHeads(shape, plan);
  const student = studentSize(size, price, headWidth);
  const resolved = recoveryOn(plan.texts.calibration, recipe.recovery);
  const recovery = estimateRecovery(shape, resolved, student, native);
  const blockSpeed = recovery.isNative ? (probed?.nativeBlocks ?? nativeBlockSpeed) : speed;
  const recoverySecondsOf = ({ isNative, ofLayers, ofBlocks, moved, solving }: RecoveryEstimate) =>
    2 * readSeconds +
    ofLayers / (isNative ? windowSpeed : speed) +
    ofBlocks / blockSpeed +
    moved / adamSpeed +
    solving / solvingShare / moments;
  const refit = compared.refit && estimateRecovery(shape, compared.refit, student, native);
  const comparisonSeconds =
    (compared.passes + compared.codedPasses) * readSeconds +
    forwardOperations(size, compared.tokens, compared.length) *
      (compared.passes / windowSpeed + compared.codedPasses / speed) +
    (refit ? recoverySecondsOf(refit) : 0);
  const distillation = estimateDistillation(shape, recipe, student, plan);
  const trainsWhole = !recipe.recovery.distillation?.adapterRank;
  const nativeDistillation = probed ? distillationShare * windowSpeed : trainingSpeed(backend, true);
  const distillationSpeed = native && trainsWhole ? nativeDistillation : speed;
  const gathers = plan.needsStatistics && !plan.givenStatistics;
  const written = samplesTokens(evaluationSources);
  const stages = [
    { title: 'statistics', seconds: gathers ? statisticsSeconds(plan, means) : 0 },
    {
      title: 'budget',
      seconds: (measurements(shape, recipe) * forwardOperations(size, measuredTokens, measured)) / windowSpeed,
    },
    { title: 'factors', seconds: factorsSeconds },
    { title: 'block reconstruction', seconds: resolved ? recoverySecondsOf(recovery) : 0 },
    ...(distillation ? [{ title: 'distillation', seconds: distillation.operations / distillationSpeed }] : []),
    // The result before it was rounded is read too.
    { title: 'evaluation', seconds: evaluationSeconds(plan, means, 1) + readSeconds },
    ...(plan.method ? [{ title: 'comparisons', seconds: comparisonSeconds }] : []),
    { title: 'report', seconds: written > 0 ? 2 * (readSeconds + singleTokensSeconds(size, written, 0, means)) : 0 },
  ];

  const statisticsBytes = 8 * size.statisticsNumbers;
  const attentionBytes = 8 * size.attention;
  const dtype: WeightDtype | undefined = recipe.dtype === 'source' ? undefined : recipe.dtype;
  return {
    keyValueHeads,
    headWidth,
    price,
    memoryBytes: Math.max(...Object.values(stageMemory(plan, means))),
    outputBytes: Math.round(
      (plannedBytes(model, { source: model, dtype }) * price.parameters.result) / price.parameters.source,
    ),
    runDirectoryBytes:
      (gathers ? statisticsBytes : 0) + attentionBytes + recovery.diskBytes + (distillation?.diskBytes ?? 0),
    temporaryBytes: spilledBytes(plan, means),
    stages,
    seconds: stages.reduce((sum, stage) => sum + stage.seconds, 0),
    assumedSpeed: speed,
    windowSpeed,
    ...(recovery.ofBlocks > 0 && { blockSpeed }),
  };
}

/**
 * Closed forms: moments and eigenvectors of each group's keys and values, or of those of the whole layer, and heads folded into the
 * projections.
 */
function factorOperations({ model, method, keyValueHeads }: EstimatedPlan): number {
  if (method === undefined) return 0;
  const { numLayers, hiddenSize, numAttentionHeads, numKeyValueHeads, headDim } = model.shape;
  const groups = method.freeRanks?.basis === 'layer' ? 1 : keyValueHeads;
  const width = (numKeyValueHeads * headDim) / groups;
  const subspaces = 2 * groups * (width ** 2 * hiddenSize + 12 * width ** 3);
  const folding = 4 * numAttentionHeads * headDim ** 2 * hiddenSize;
  return numLayers * (subspaces + folding);
}

/** Passes over text that the budget asks for: every layer at every count; taken to be as many for policies that are not known. */
function measurements(shape: DecoderShape, { budget: { policy } }: Recipe): number {
  const known = budgetPolicies.has(policy) ? budgetPolicies.get(policy) : undefined;
  if (known !== undefined && known.needs !== 'measurement') return 0;
  return shape.numLayers * (divisorsOf(shape.numKeyValueHeads).length - 1);
}

/** The size of the result as training sees it: fewer heads take less in attention, wide ones more. */
function studentSize(size: ModelSize, { parameters }: HeadPrice, headWidth: number): ModelSize {
  const added = parameters.result - parameters.source;
  return {
    ...size,
    parameters: parameters.result,
    active: size.active + added,
    attention: size.attention + added,
    attentionWidth: headWidth * size.attentionWidth,
  };
}

interface RecoveryEstimate {
  /** Floating point operations of windows through whole layers, and of those through attention blocks in training. */
  ofLayers: number;
  ofBlocks: number;
  /** Whether they run in native code. */
  isNative: boolean;
  /** Numbers that steps of Adam move. */
  moved: number;
  /** Products of ridge regressions. */
  solving: number;
  diskBytes: number;
}

function estimateRecovery(
  shape: DecoderShape,
  recovery: ResolvedRecovery | undefined,
  size: ModelSize,
  native: boolean,
): RecoveryEstimate {
  const isNative = native && trainsNatively(shape);
  if (recovery === undefined) return { ofLayers: 0, ofBlocks: 0, isNative, moved: 0, solving: 0, diskBytes: 0 };
  const { trainingWindows, heldOutWindows, windowLength, settings } = recovery;
  const { steps, windowsPerStep, evaluateEvery } = settings;
  const { numLayers, hiddenSize, vocabSize } = shape;
  const tokens = (trainingWindows + heldOutWindows) * windowLength;
  const scores = 2 * size.attentionWidth * windowLength;
  const attention = 2 * size.attention + scores;
  const layers = 2 * (size.active - vocabSize * hiddenSize) + scores;
  // The heads of a layer side by side, as its output projection reads them.
  const width = size.attentionWidth / (2 * numLayers);
  const products = 2 * numLayers * width * (width + hiddenSize);
  // Four strengths are tried on some outputs, and one is solved for all.
  const ridges = numLayers * ((5 / 6) * width ** 3 + 2 * width ** 2 * (hiddenSize + 4 * Math.min(256, hiddenSize)));
  // Of each refit, before and behind steps.
  const count = refitsOutput(settings, shape) ? (steps > 0 ? 2 : 1) : 0;
  // A step is a forward and a backward pass through the block's attention: three times the products of a forward pass.
  const training = steps * windowsPerStep * windowLength * 3 * attention;
  const looks = 1 + count + (steps > 0 ? 2 : 0) + Math.ceil(steps / evaluateEvery);
  return {
    // The original's and the compressed model's.
    ofLayers: 2 * tokens * layers,
    ofBlocks: looks * heldOutWindows * windowLength * attention + count * tokens * (attention + products) + training,
    isNative,
    moved: steps * size.attention,
    solving: count * ridges,
    diskBytes: refitsAlone(settings, shape) ? 4 * numLayers * width * hiddenSize : 4 * size.attention,
  };
}
