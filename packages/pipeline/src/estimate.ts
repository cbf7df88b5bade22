import { plannedBytes, type WeightDtype } from '@kvlr/checkpoint';

import { cacheWidth, type DecoderShape, type ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type DistillationSettings, needsTeacher } from '@kvlr/recovery';
import { formatBytes, formatCount, formatDuration } from '@kvlr/report';
import type { BackendName } from '@kvlr/runtime';
import { divisorsOf, type HeadPrice, priceOfHeads, type ResultHeads } from './heads.ts';
import type { CompressionPlan } from './plan.ts';
import { resolveDistillation, resolveRecovery } from './recipe.ts';
import { budgetPolicies } from './run/plugin-choices.ts';

/** What a compression would take. Estimates, for planning: times within a factor of about three. */
export interface CompressionEstimate extends ResultHeads {
  /** What heads cost beside the bytes of the cache. */
  price: HeadPrice;
  /** Largest memory at one time. */
  memoryBytes: number;
  outputBytes: number;
  runDirectoryBytes: number;
  stages: { title: string; seconds: number }[];
  seconds: number;
  /** Arithmetic speed that the times assume, floating point operations per second. */
  assumedSpeed: number;
  /** The same for windows of calibration and evaluation: another where they run in native code. */
  windowSpeed: number;
}

/** Speed of large matrix products: measured on two cores for wasm and cpu; a modest GPU for webgpu. */
const speeds: Record<BackendName, number> = { webgpu: 300e9, wasm: 15e9, cpu: 0.4e9 };
/** Speed of windows in native code: measured on one core with AVX-512, on models of 30 and 135 million parameters. */
const nativeSpeed = 150e9;
/** Speed of Float64 sums in plain JavaScript, on which eigenvectors run and logits are compared. */
const plainSpeed = 1e9;
/** Products a second of second moments in Float64, on WASM: measured on one core beside the same models. */
const momentSpeed = 9e9;
const processBytes = 250e6;

/** Estimates memory, disk and time of a planned compression from shapes alone; `native`: windows run in native code. */
export function estimateCompression(plan: CompressionPlan, backend: BackendName, native = false): CompressionEstimate {
  const { model, recipe, keyValueHeads, headWidth } = plan;
  const { shape } = model;
  const speed = speeds[backend];
  const windowSpeed = native ? nativeSpeed : speed;
  const size = modelSize(model);
  const forward = (tokens: number, length: number) => tokens * (2 * size.active + 2 * size.attentionWidth * length);
  const { calibration, evaluation } = recipe;

  const calibrationTokens = calibration.windows * calibration.windowLength;
  const statisticsSeconds =
    forward(calibrationTokens, calibration.windowLength) / windowSpeed +
    (calibrationTokens * size.statisticsNumbers) / momentSpeed;
  const keyWidth = shape.numKeyValueHeads * shape.headDim;
  const factorsSeconds = (shape.numLayers * 12 * keyWidth ** 3) / plainSpeed;
  const predicted = evaluation.windowLength - 1;
  const evaluationSources = new Set(plan.texts.evaluation.map(({ source }) => source)).size;
  const evaluationTokens = evaluationSources * evaluation.windowsPerSource * predicted;
  const evaluationSeconds =
    (2 * forward(evaluationTokens, predicted)) / windowSpeed + (evaluationTokens * shape.vocabSize * 30) / plainSpeed;
  const measured = recipe.budget.windowLength - 1;
  const measuredTokens = recipe.budget.windows * measured;
  const price = priceOfHeads(shape, plan);
  const student = studentSize(size, price, headWidth);
  const recovery = estimateRecovery(shape, recipe, student);
  const distillation = estimateDistillation(shape, recipe, student, plan);
  const stages = [
    { title: 'statistics', seconds: statisticsSeconds },
    { title: 'budget', seconds: measurements(shape, recipe) * (forward(measuredTokens, measured) / windowSpeed) },
    { title: 'factors', seconds: factorsSeconds },
    { title: 'block reconstruction', seconds: recovery.operations / speed },
    ...(distillation ? [{ title: 'distillation', seconds: distillation.operations / speed }] : []),
    { title: 'evaluation', seconds: evaluationSeconds },
  ];

  const statisticsBytes = 8 * size.statisticsNumbers;
  const attentionBytes = 8 * size.attention;
  const logitBytes = Math.min(640 * 2 ** 20, 4 * evaluationTokens * shape.vocabSize);
  // The original, the exact and the rounded result are on the backend at the same time, once, to measure the rounding.
  const evaluationBytes = 3 * 4 * size.parameters + logitBytes;
  const dtype: WeightDtype | undefined = recipe.dtype === 'source' ? undefined : recipe.dtype;
  return {
    keyValueHeads,
    headWidth,
    price,
    memoryBytes:
      processBytes +
      statisticsBytes +
      attentionBytes +
      Math.max(evaluationBytes, recovery.bytes, distillation?.bytes ?? 0),
    outputBytes: Math.round(
      (plannedBytes(model, { source: model, dtype }) * price.parameters.result) / price.parameters.source,
    ),
    runDirectoryBytes: statisticsBytes + attentionBytes + recovery.diskBytes + (distillation?.diskBytes ?? 0),
    stages,
    seconds: stages.reduce((sum, stage) => sum + stage.seconds, 0),
    assumedSpeed: speed,
    windowSpeed,
  };
}

/** Passes over text that the budget asks for: every layer at every count; taken to be as many for policies that are not known. */
function measurements(shape: DecoderShape, { budget: { policy } }: Recipe): number {
  const known = budgetPolicies.has(policy) ? budgetPolicies.get(policy) : undefined;
  if (known !== undefined && known.needs !== 'measurement') return 0;
  return shape.numLayers * (divisorsOf(shape.numKeyValueHeads).length - 1);
}

/** The size of the result as training sees it: wide heads take more of everything in attention. */
function studentSize(size: ModelSize, { parameters }: HeadPrice, headWidth: number): ModelSize {
  if (headWidth === 1) return size;
  const added = parameters.result - parameters.source;
  return {
    ...size,
    parameters: parameters.result,
    active: size.active + added,
    attention: size.attention + added,
    attentionWidth: headWidth * size.attentionWidth,
  };
}

interface ModelSize {
  parameters: number;
  /** Parameters that every token is multiplied with. */
  active: number;
  /** Parameters of the attention projections. */
  attention: number;
  /** Multiplications of one query with one key and value, all layers. */
  attentionWidth: number;
  /** Numbers in the second moments of all layers. */
  statisticsNumbers: number;
}

function modelSize({ shape, tensors }: ModelSource): ModelSize {
  const { numLayers, hiddenSize, numAttentionHeads, numKeyValueHeads, headDim, vocabSize } = shape;
  const parameters = tensors
    .list()
    .reduce((sum, tensor) => sum + tensor.shape.reduce((product, length) => product * length, 1), 0);
  const queryWidth = numAttentionHeads * headDim;
  const keyWidth = numKeyValueHeads * headDim;
  const embeddings = (shape.head.tied ? 1 : 2) * vocabSize * hiddenSize;
  const moments = hiddenSize ** 2 + 3 * keyWidth ** 2 + 2 * queryWidth * headDim + queryWidth ** 2;
  return {
    parameters,
    active: parameters - embeddings + vocabSize * hiddenSize,
    attention: numLayers * hiddenSize * 2 * (queryWidth + keyWidth),
    attentionWidth: numLayers * 2 * queryWidth,
    statisticsNumbers: numLayers * moments,
  };
}

function estimateRecovery(
  shape: DecoderShape,
  recipe: Recipe,
  size: ModelSize,
): { operations: number; bytes: number; diskBytes: number } {
  const recovery = resolveRecovery(recipe.recovery);
  if (recovery === undefined) return { operations: 0, bytes: 0, diskBytes: 0 };
  const { trainingWindows, heldOutWindows, windowLength } = recovery;
  const { steps, windowsPerStep } = recovery.settings;
  const stepTokens = steps * windowsPerStep * windowLength;
  // A step is a forward and a backward pass through the block's attention: three times the products of a forward pass.
  const training = stepTokens * 3 * (2 * size.attention + 2 * size.attentionWidth * windowLength);
  const streamTokens = (trainingWindows + heldOutWindows) * windowLength;
  const streams = 2 * streamTokens * 2 * size.active;
  const scores = windowsPerStep * shape.numAttentionHeads * windowLength ** 2;
  const widest = Math.max(...shape.layers.map(({ cache }) => cacheWidth(cache)));
  return {
    operations: training + streams,
    bytes: 4 * (3 * streamTokens * shape.hiddenSize + 3 * scores + 8 * windowsPerStep * windowLength * widest),
    diskBytes: 4 * size.attention,
  };
}

function estimateDistillation(
  shape: DecoderShape,
  recipe: Pick<Recipe, 'recovery'>,
  size: ModelSize,
  { keyValueHeads, headWidth }: ResultHeads,
): { operations: number; bytes: number; diskBytes: number } | undefined {
  const distillation = resolveDistillation(recipe.recovery);
  if (distillation === undefined) return undefined;
  const { heldOutWindows, windowLength } = distillation;
  const { steps, piecesPerStep, evaluateEvery, adapterRank, topTokens } = distillation.settings;
  const pieceLength = Math.min(distillation.settings.pieceLength, windowLength);
  const forwardOf = (tokens: number) => 2 * size.active + 2 * size.attentionWidth * tokens;
  const trained = trainedNumbers(shape, distillation.settings, { keyValueHeads, headWidth });
  const stepTokens = piecesPerStep * pieceLength;
  const passTokens = (distillation.settings.piecesAtOnce || piecesPerStep) * pieceLength;
  const asksTeacher = needsTeacher(distillation.settings);
  const teacherInMemory = asksTeacher && topTokens === 0;
  const looks = 1 + Math.ceil(steps / evaluateEvery);
  // The original forward; the student forward, forward again layer by layer, and back; and the gradients of what is trained.
  const perToken = (asksTeacher ? 4 : 3) * forwardOf(pieceLength) + (adapterRank > 0 ? 6 : 2) * trained;
  const { hiddenSize, numAttentionHeads, numLayers } = shape;
  const { intermediateSize } = shape.feedForward;
  // Inside one layer about ten rows as wide as its widest, and scores with their gradients; one stream for each layer.
  const inner = passTokens * (numLayers * hiddenSize + 10 * (hiddenSize + intermediateSize));
  const scores = 3 * numAttentionHeads * Math.max(passTokens * pieceLength, windowLength ** 2);
  return {
    operations: steps * stepTokens * perToken + looks * heldOutWindows * windowLength * 2 * forwardOf(windowLength),
    bytes: 4 * ((teacherInMemory ? 2 : 1) * size.parameters + 5 * trained + inner + scores + 6 * 512 * shape.vocabSize),
    diskBytes: 4 * 5 * trained,
  };
}

/** Numbers that are trained: the matrices of the targets, or A and B of their adapters. */
function trainedNumbers(
  shape: DecoderShape,
  { targets, adapterRank }: Pick<DistillationSettings, 'targets' | 'adapterRank'>,
  { keyValueHeads, headWidth }: ResultHeads,
): number {
  const { hiddenSize, numAttentionHeads, headDim } = shape;
  const width = headWidth * headDim;
  const outputsOf = {
    q: numAttentionHeads * width,
    k: keyValueHeads * width,
    v: keyValueHeads * width,
    o: numAttentionHeads * width,
  };
  const numbers = targets.map((target) => {
    // Of every projection one side is the stream.
    const other = outputsOf[target[0] as keyof typeof outputsOf] ?? shape.feedForward.intermediateSize;
    return adapterRank > 0 ? adapterRank * (hiddenSize + other) : hiddenSize * other;
  });
  return shape.numLayers * numbers.reduce((sum, each) => sum + each, 0);
}

export interface TrainingEstimateRequest {
  teacher?: ModelSource | undefined;
  student: ModelSource;
  settings: Recipe['recovery'];
  backend: BackendName;
  /** Tokens of a window, where they are not those of the settings. */
  length?: number | undefined;
  /** Steps that are left. */
  steps: number;
}

/** What training a student end to end takes, in a sentence: time and memory from shapes alone, within a factor of about three. */
export function describeTraining({ student, settings, backend, length, steps }: TrainingEstimateRequest): string {
  const windowLength = length ?? settings.distillation!.windowLength;
  const recovery = { ...settings, distillation: { ...settings.distillation!, windowLength } };
  const heads = { keyValueHeads: student.shape.numKeyValueHeads, headWidth: 1 };
  const estimate = estimateDistillation(student.shape, { recovery }, modelSize(student), heads)!;
  const resolved = resolveDistillation(recovery)!;
  const stepSeconds = estimate.operations / speeds[backend] / resolved.settings.steps;
  const tokens = resolved.settings.piecesPerStep * Math.min(resolved.settings.pieceLength, windowLength);
  return (
    `Training: ${formatCount(steps)} steps of ${formatCount(tokens)} tokens, about ${stepSeconds.toPrecision(2)} s each and ` +
    `${formatDuration(steps * stepSeconds)} in all on ${backend} by the size of the model, about ${formatBytes(processBytes + estimate.bytes)} of memory.`
  );
}
