import { countParameters, type DecoderShape, type ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type DistillationSettings, needsTeacher } from '@kvlr/recovery';
import { formatBytes, formatCount, formatDuration } from '@kvlr/report';
import type { BackendName } from '@kvlr/runtime';
import type { ResultHeads } from '../heads.ts';
import { resolveDistillation } from '../recipe.ts';

/** Speed of large matrix products: measured on two cores for wasm and cpu; a modest GPU for webgpu. */
export const speeds: Record<BackendName, number> = { webgpu: 300e9, wasm: 15e9, cpu: 0.4e9 };
/** Speed of training end to end in native code: measured on two cores, at 30 million parameters. */
const nativeTrainingSpeed = 60e9;
/** What a process takes before it loads a model. */
export const processBytes = 250e6;

export interface ModelSize {
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

export function modelSize({ shape, tensors }: ModelSource): ModelSize {
  const { numLayers, hiddenSize, numAttentionHeads, numKeyValueHeads, headDim, vocabSize } = shape;
  const parameters = countParameters({ tensors });
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

/**
 * What training end to end takes: floating point operations, memory beside the process, what native code holds besides, and the bytes of
 * a checkpoint.
 */
export function estimateDistillation(
  shape: DecoderShape,
  recipe: Pick<Recipe, 'recovery'>,
  size: ModelSize,
  { keyValueHeads, headWidth }: ResultHeads,
): { operations: number; bytes: number; nativeBytes: number; diskBytes: number } | undefined {
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
  // At the start, and twice on the way back.
  const looks = 3 + Math.ceil(steps / evaluateEvery);
  // The original forward; the student forward, forward again layer by layer, and back; and the gradients of what is trained.
  const perToken = (asksTeacher ? 4 : 3) * forwardOf(pieceLength) + (adapterRank > 0 ? 6 : 2) * trained;
  const { hiddenSize, numAttentionHeads, numLayers } = shape;
  // Beside adapters one layer is unpacked at a time.
  const tables = size.parameters - size.active + shape.vocabSize * hiddenSize;
  const held = adapterRank > 0 ? tables + (size.parameters - tables) / numLayers : size.parameters;
  const { intermediateSize } = shape.feedForward;
  // Inside one layer about ten rows as wide as its widest, and scores with their gradients; one stream for each layer.
  const inner = passTokens * (numLayers * hiddenSize + 10 * (hiddenSize + intermediateSize));
  const scores = 3 * numAttentionHeads * Math.max(passTokens * pieceLength, windowLength ** 2);
  return {
    operations: steps * stepTokens * perToken + looks * heldOutWindows * windowLength * 2 * forwardOf(windowLength),
    bytes: 4 * ((teacherInMemory ? 2 : 1) * held + 5 * trained + inner + scores + 6 * 512 * shape.vocabSize),
    // Values, running means and gradients on the host, beside those of the backend.
    nativeBytes: adapterRank > 0 ? 0 : 4 * 4 * trained,
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
  /** Whether layers run in native code. */
  native: boolean;
}

/** Operations a second of training end to end. */
export function trainingSpeed(backend: BackendName, native: boolean): number {
  return native ? nativeTrainingSpeed : speeds[backend];
}

/** What training a student end to end takes, in a sentence: time and memory from shapes alone, within a factor of about three. */
export function describeTraining({
  student,
  settings,
  backend,
  native,
  length,
  steps,
}: TrainingEstimateRequest): string {
  const windowLength = length ?? settings.distillation!.windowLength;
  const recovery = { ...settings, distillation: { ...settings.distillation!, windowLength } };
  const heads = { keyValueHeads: student.shape.numKeyValueHeads, headWidth: 1 };
  const estimate = estimateDistillation(student.shape, { recovery }, modelSize(student), heads)!;
  const resolved = resolveDistillation(recovery)!;
  const stepSeconds = estimate.operations / trainingSpeed(backend, native) / resolved.settings.steps;
  const tokens = resolved.settings.piecesPerStep * Math.min(resolved.settings.pieceLength, windowLength);
  return (
    `Training: ${formatCount(steps)} steps of ${formatCount(tokens)} tokens, about ${stepSeconds.toPrecision(2)} s each and ` +
    `${formatDuration(steps * stepSeconds)} in all on ${native ? 'native code' : backend} by the size of the model, about ${formatBytes(processBytes + estimate.bytes + (native ? estimate.nativeBytes : 0))} of memory.`
  );
}
