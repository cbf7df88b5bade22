import { countElements, type DecoderShape, decoderTensors, globalTensors, KvlrError, layerTensors } from '@kvlr/core';
import { refitsAlone, trainsNatively } from '@kvlr/recovery';
import { formatBytes } from '@kvlr/report';
import { wholeModelBytes } from './models/facts.ts';
import { estimateDistillation, modelSize, processBytes } from './models/training-estimate.ts';
import type { WindowMeans } from './models/window-means.ts';
import type { CompressionPlan } from './plan.ts';
import { resolveRecovery } from './recipe.ts';
import { recoveryOn } from './stages/recovery.ts';

/** What memory depends on. */
type RunPlan = Pick<CompressionPlan, 'model' | 'recipe' | 'texts' | 'keyValueHeads' | 'headWidth' | 'needsStatistics'>;

/** The heap of tfjs's wasm module grows no further. */
const wasmHeapBytes = 2 ** 31;
/** Estimates are rough: what is refused is clearly beyond. */
const refusedBytes = 1.25 * wasmHeapBytes;
/** Numbers of a table of the head that are in memory at once: a larger one is read in pieces, for each window. */
const tableNumbers = 2 ** 26;
/** Logits of the original that an evaluation keeps. */
const keptLogitBytes = 640 * 2 ** 20;

/** Numbers of a model by what is in memory at one time. */
interface PartSizes {
  /** Of the largest layer, its attention, and its largest matrix. */
  layer: number;
  attention: number;
  matrix: number;
  /** Of the head's table. */
  table: number;
  parameters: number;
}

function partSizes(shape: DecoderShape): PartSizes {
  const numbersOf = (tensors: readonly { shape: readonly number[] }[]) =>
    tensors.reduce((sum, tensor) => sum + countElements(tensor.shape), 0);
  const layers = shape.layers.map((_, layer) => layerTensors(shape, layer));
  const all = decoderTensors(shape);
  return {
    layer: Math.max(...layers.map(numbersOf)),
    attention: Math.max(...layers.map((layer) => numbersOf(layer.filter(({ part }) => part === 'attention')))),
    matrix: Math.max(...layers.flat().map((tensor) => countElements(tensor.shape))),
    table: shape.vocabSize * shape.embedding.width,
    parameters: numbersOf(all),
  };
}

/** Bytes on a device, by XNNPACK's habit of packing what it multiplies with a second time, and of what 512 tokens make of it. */
function deviceBytes(shape: DecoderShape, sizes: PartSizes, tokens: number): number {
  const { hiddenSize, numAttentionHeads, feedForward } = shape;
  const rows = tokens * (6 * hiddenSize + 3 * feedForward.intermediateSize);
  return 4 * (2 * sizes.layer + rows + 2 * numAttentionHeads * tokens ** 2);
}

/** Bytes of streams beyond what stays in memory, of the stage that has the most. */
export function spilledBytes({ model, recipe, texts, needsStatistics }: RunPlan, { streamBytes }: WindowMeans): number {
  if (streamBytes === undefined) return 0;
  const beyond = (windows: number, tokens: number) =>
    Math.max(0, 4 * windows * tokens * model.shape.hiddenSize - streamBytes);
  const { calibration, evaluation } = recipe;
  const recovery = recoveryOn(texts.calibration, recipe.recovery);
  return Math.max(
    needsStatistics ? beyond(calibration.windows, calibration.windowLength) : 0,
    recovery ? 3 * beyond(recovery.trainingWindows + recovery.heldOutWindows, recovery.windowLength) : 0,
    2 * beyond(texts.evaluation.length, evaluation.windowLength - 1),
  );
}

/** Largest resident memory of each stage of a planned compression, bytes, from shapes alone. */
export function stageMemory(plan: RunPlan, means: WindowMeans): Record<string, number> {
  const { model, recipe } = plan;
  const { shape } = model;
  const sizes = partSizes(shape);
  const { calibration, evaluation } = recipe;
  const moments = (8 * modelSize(model).statisticsNumbers) / shape.numLayers;
  const allStreams = (windows: number, tokens: number) => 4 * windows * tokens * shape.hiddenSize;
  const streams = (count: number, tokens: number) =>
    Math.min(allStreams(count, tokens), means.streamBytes ?? Number.POSITIVE_INFINITY);
  const threads = Math.max(1, means.threads);
  const shared = threads > 1 ? 4 * sizes.layer : 0;
  // A matrix is read as bytes, as float32, and with its axes exchanged.
  const reading = 10 * sizes.matrix;
  const whole = means.native && 4 * sizes.parameters <= wholeModelBytes;
  // Threads copy what they are given once for all of them.
  const wholeModel = (threads + (threads > 1 ? 1 : 0)) * 4 * sizes.parameters;
  const windows = (tokens: number, models = 1) =>
    whole ? models * wholeModel : threads * (deviceBytes(shape, sizes, tokens) + reading) + shared;
  const base = processBytes + (threads > 1 ? 120e6 * threads : 0);
  const memory: Record<string, number> = {};
  // Sums and the statistics that are made of them in each thread; what is merged, and its bytes as they are written.
  const gathered = moments * (2 * threads + 4) * (whole ? shape.numLayers : 1);
  if (plan.needsStatistics) {
    memory.statistics =
      base + windows(calibration.windowLength) + gathered + streams(calibration.windows, calibration.windowLength);
  }
  memory.factors = base + (plan.needsStatistics ? 3 * moments : 0) + 4 * 8 * sizes.attention;
  const recovery = recoveryOn(plan.texts.calibration, recipe.recovery);
  if (recovery) {
    const { trainingWindows, heldOutWindows, windowLength, settings } = recovery;
    const isNative = means.native && trainsNatively(shape);
    // In native code one window at a time passes the block.
    const batch = isNative || settings.steps === 0 ? 1 : settings.windowsPerStep;
    const width = plan.headWidth * shape.numAttentionHeads * shape.headDim;
    const rows = windowLength * (4 * shape.hiddenSize + 6 * width);
    const activations = batch * (12 * shape.numAttentionHeads * windowLength ** 2 + 6 * rows);
    // Of both sets of windows, and what is solved for.
    const outputMoments = 5 * width * (width + shape.hiddenSize);
    const output = width * shape.hiddenSize;
    // Variables, their best values and moments, gradients, and what goes between native code and the backend; a layer that is read again.
    const lying = [trainingWindows + heldOutWindows, windowLength] as const;
    const trained = 9 * sizes.attention + 2 * (refitsAlone(settings, shape) ? output : sizes.attention);
    memory['block reconstruction'] =
      base +
      (isNative ? threads : 1) * (deviceBytes(shape, sizes, windowLength) + reading) +
      (isNative ? shared : 0) +
      // On the backend, what a block reads and is to reach is in memory.
      (isNative ? 3 * streams(...lying) : streams(...lying) + 2 * allStreams(...lying)) +
      4 * (activations + trained) +
      8 * outputMoments;
  }
  const distillation = estimateDistillation(shape, recipe, modelSize(model), plan);
  if (distillation) {
    memory.distillation = base + distillation.bytes + (means.native ? distillation.nativeBytes : 0);
  }
  const count = plan.texts.evaluation.length;
  if (count > 0) {
    const tokens = evaluation.windowLength - 1;
    const logits = 4 * tokens * shape.vocabSize;
    const table = Math.min(sizes.table, tableNumbers);
    const head = threads * (8 * table) + (threads > 1 ? 4 * table : 0) + 6 * table;
    // Whole, original and result lie beside each other; in parts, one part of one of them at a time.
    memory.evaluation =
      base +
      Math.max(windows(tokens, 2), head) +
      2 * streams(count, tokens) +
      Math.min(keptLogitBytes, count * logits) +
      // In each thread and on their way, those of original and result, their sums, and what is not freed yet: measured at 128,256 words.
      (6 * threads + 4) * logits;
  }
  return memory;
}

/**
 * Refuses a compression that cannot run: on wasm, one layer, or a whole model that is to be distilled, larger than the heap.
 *
 * @throws KvlrError 'memory-exceeded'.
 */
export function requireRoom(plan: CompressionPlan, { backend, native }: Pick<WindowMeans, 'backend' | 'native'>): void {
  const { shape } = plan.model;
  if (backend !== 'wasm') return;
  const distillation = estimateDistillation(shape, plan.recipe, modelSize(plan.model), plan);
  if (distillation && distillation.bytes > refusedBytes) {
    throw exceeded('distillation', distillation.bytes, 'Leave the distillation out, or run it on a GPU.');
  }
  const trains = resolveRecovery(plan.recipe.recovery) !== undefined && !(native && trainsNatively(shape));
  const runsHere = !native && (plan.needsStatistics || plan.texts.evaluation.length > 0);
  const bytes = deviceBytes(shape, partSizes(shape), 512);
  if ((trains || runsHere) && bytes > refusedBytes) {
    throw exceeded(
      'one layer',
      bytes,
      'Compress from the weights alone (svd-w or mean-pool, no repair, no evaluation), or on a GPU.',
    );
  }
}

function exceeded(what: string, bytes: number, hint: string): KvlrError {
  return new KvlrError('memory-exceeded', {
    message: `expected a need of at most ${formatBytes(wasmHeapBytes)} on wasm for ${what}, got ${formatBytes(bytes)}`,
    hint,
    where: { argument: 'backend' },
    data: { bytes, limit: wasmHeapBytes },
  });
}

/** Bytes of float32 weights that each thread which runs windows holds at one time. */
export function threadBytes(shape: DecoderShape): number {
  const { parameters, layer, matrix } = partSizes(shape);
  return 4 * parameters <= wholeModelBytes
    ? 4 * parameters
    : 8 * layer + 10 * matrix + 4 * Math.min(largestGlobal(shape), tableNumbers);
}

function largestGlobal(shape: DecoderShape): number {
  return Math.max(...globalTensors(shape).map((tensor) => countElements(tensor.shape)));
}
