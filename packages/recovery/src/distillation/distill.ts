import { type DenseTensor, KvlrError, type ModelSource, throwIfAborted } from '@kvlr/core';
import { createSequenceContext, type DecoderTensors, disposeDecoder, uploadDecoder } from '@kvlr/runtime';
import { AdamOptimizer } from '../training/adam-optimizer.ts';
import { batchOrder, learningRateAt } from '../training/schedule.ts';
import { AdaptedAttention, TrainableAttention, type TrainedAttention } from '../training/trained-attention.ts';
import {
  checkTokenIds,
  checkTrainingWindows,
  overlayTrained,
  startBackend,
  type TrainingRequest,
} from '../training-request.ts';
import { backpropagate, heldOutLosses, type LossRequest } from './backpropagate.ts';
import {
  type DistillationPreset,
  type DistillationSettings,
  resolveDistillationSettings,
} from './distillation-settings.ts';
import { type DistillationCheckpoint, type DistillationPoint, restoreState, saveState } from './distillation-state.ts';

export interface DistillationRequest extends TrainingRequest {
  /** Default 'full'. */
  preset?: DistillationPreset;
  settings?: Partial<DistillationSettings>;
  /** Of an interrupted run with the same request: training goes on behind it, to the same result. */
  checkpoint?: DistillationCheckpoint;
  /** Is handed a checkpoint after every look at the held-out windows. */
  onCheckpoint?: (checkpoint: DistillationCheckpoint) => void | Promise<void>;
}

export interface DistillationResult {
  /** The trained projections (and biases) of all layers under the student's tensor names, matrices [out, in]. */
  tensors: Map<string, DenseTensor>;
  points: DistillationPoint[];
  /** The point whose values were taken. */
  best: DistillationPoint;
  /** Tokens trained on. */
  trainingTokens: number;
}

/**
 * Distillation, end to end: trains the attention projections of all layers of a compressed model together, so that its
 * next-token distribution comes back to the original's, by AdamW on KL(original || student), optionally mixed with the
 * cross-entropy of the text (Hinton et al. 2015; as recovery after compression, Yu et al. 2024, arXiv 2406.07056).
 * Matrices themselves are trained, or low-rank adapters that are merged at the end. Embedding, feed-forward blocks, norms and
 * head stay. Steps are taken on pieces of the windows: at equal tokens many steps of few ended lower than few of many
 * (docs/log.md). The result has the values with the least loss on the held-out windows, those of the start included.
 *
 * Memory: both models in float32, one stream [tokens of a step, hiddenSize] for each layer, the inner activations of one
 * layer, the logits of 512 rows, and three or four numbers for each trained one.
 *
 * @throws KvlrError 'invalid-argument', 'text-too-short', 'tokenizer-mismatch',
 *   'run-mismatch' (a checkpoint of something else), 'aborted' on the signal.
 */
export async function distill(request: DistillationRequest): Promise<DistillationResult> {
  const settings = resolveDistillationSettings(request.preset ?? 'full', request.settings);
  checkDistillationRequest(request, settings);
  await startBackend(request);
  const models: DecoderTensors[] = [];
  try {
    for (const source of [request.teacher, request.student]) models.push(await uploadDecoder(source, request.signal));
    const [teacher, student] = models as [DecoderTensors, DecoderTensors];
    const attentions = student.layers.map((weights, layer) =>
      settings.adapterRank > 0
        ? new AdaptedAttention(weights, { rank: settings.adapterRank, seed: settings.seed + layer })
        : new TrainableAttention(weights, settings.scoreStep),
    );
    try {
      return await train(request, settings, { teacher, student, attentions });
    } finally {
      for (const attention of attentions) attention.dispose();
    }
  } finally {
    for (const model of models) disposeDecoder(model);
  }
}

interface LoadedParts {
  teacher: DecoderTensors;
  student: DecoderTensors;
  attentions: TrainedAttention[];
}

async function train(
  request: DistillationRequest,
  settings: DistillationSettings,
  parts: LoadedParts,
): Promise<DistillationResult> {
  const { heldOutWindows, checkpoint, onEvent, signal } = request;
  const { steps, nextTokenShare, weightDecay, evaluateEvery, patience, seed } = settings;
  const { teacher, student, attentions } = parts;
  const pieces = cutPieces(request.windows, settings.pieceLength);
  const piecesPerStep = Math.min(settings.piecesPerStep, pieces.length);
  const stepTokens = piecesPerStep * pieces[0]!.length;
  const contextsOf = (batch: number, tokens: number) => ({
    context: createSequenceContext({ shape: student.shape, batch, tokens }),
    teacherContext: createSequenceContext({ shape: teacher.shape, batch, tokens }),
  });
  const contexts = {
    training: contextsOf(piecesPerStep, pieces[0]!.length),
    heldOut: contextsOf(1, heldOutWindows[0]!.length),
  };
  const base: Omit<LossRequest, 'context' | 'teacherContext'> = { ...parts, nextTokenShare, signal };
  const parameters = (await Promise.all(attentions.map((attention) => attention.parameters()))).flat();
  const optimizer = new AdamOptimizer(parameters, { weightDecay });
  const state = { attentions, optimizer };
  const points: DistillationPoint[] = [];
  const look = async (step: number, trainLoss?: number): Promise<void> => {
    const losses = await heldOutLosses({ ...base, ...contexts.heldOut }, heldOutWindows);
    if (points.every(({ heldOutLoss }) => losses.heldOutLoss < heldOutLoss)) {
      for (const attention of attentions) attention.keep();
    }
    points.push({ step, tokens: step * stepTokens, ...(step > 0 && { trainLoss }), ...losses });
    await request.onCheckpoint?.(await saveState(state, step, points));
  };
  try {
    if (checkpoint === undefined) await look(0);
    else {
      restoreState(state, checkpoint);
      points.push(...checkpoint.points);
    }
    const batches = batchOrder(pieces.length, piecesPerStep, seed);
    for (let past = 0; past < points.at(-1)!.step; past++) batches.next();
    let trainLosses: number[] = [];
    for (let step = points.at(-1)!.step; step < steps && looksSinceBest(points) < patience; ) {
      throwIfAborted(signal);
      const batch = batches.next().value.map((index) => pieces[index]!);
      const { loss, gradients } = await backpropagate({ ...base, ...contexts.training }, batch);
      optimizer.apply(gradients, learningRateAt(step, settings));
      trainLosses.push((await loss.data())[0]!);
      for (const tensor of [loss, ...Object.values(gradients)]) tensor.dispose();
      step += 1;
      if (step % evaluateEvery === 0 || step === steps) {
        await look(step, trainLosses.reduce((total, value) => total + value, 0) / trainLosses.length);
        trainLosses = [];
      }
      const detail = `held-out loss ${points.at(-1)!.heldOutLoss.toFixed(4)}`;
      onEvent?.({ type: 'progress', stage: 'recovery', completed: step, total: steps, unit: 'steps', detail });
    }
    return await finish(request, attentions, points);
  } finally {
    optimizer.dispose();
    for (const pair of Object.values(contexts)) for (const context of Object.values(pair)) context.dispose();
  }
}

/** Takes the best values. */
async function finish(
  { student, onEvent }: DistillationRequest,
  attentions: readonly TrainedAttention[],
  points: DistillationPoint[],
): Promise<DistillationResult> {
  const best = points.reduce((least, point) => (point.heldOutLoss < least.heldOutLoss ? point : least));
  const tensors = new Map<string, DenseTensor>();
  for (const [layer, attention] of attentions.entries()) {
    attention.restore();
    for (const [name, tensor] of await attention.download(student, layer)) tensors.set(name, tensor);
  }
  const [start, last] = [points[0]!, points.at(-1)!];
  onEvent?.({
    type: 'note',
    message: `Distillation: held-out KL divergence ${start.heldOutDivergence.toFixed(4)} before, ${best.heldOutDivergence.toFixed(4)} after ${best.step} steps.`,
    data: { points },
  });
  return { tensors, points, best, trainingTokens: last.tokens };
}

function looksSinceBest(points: readonly DistillationPoint[]): number {
  const least = Math.min(...points.map(({ heldOutLoss }) => heldOutLoss));
  return points.length - 1 - points.findIndex(({ heldOutLoss }) => heldOutLoss === least);
}

/** Throws when the parts of a request do not fit together: see `distill`. */
function checkDistillationRequest(request: DistillationRequest, settings: DistillationSettings): void {
  const { teacher, student, windows, heldOutWindows, checkpoint } = request;
  const { vocabSize } = student.shape;
  if (teacher.shape.vocabSize !== vocabSize) {
    throw new KvlrError('invalid-argument', {
      message: `expected a student with its teacher's vocabulary of ${teacher.shape.vocabSize}, got ${vocabSize}`,
      hint: 'Give the model that the student was compressed from as the teacher.',
      where: { argument: 'student' },
      data: { name: 'vocabSize', teacher: teacher.shape.vocabSize, student: vocabSize },
    });
  }
  checkTrainingWindows(request, 2);
  checkTokenIds([...windows, ...heldOutWindows], vocabSize);
  if (checkpoint === undefined || (checkpoint.step <= settings.steps && checkpoint.points.length > 0)) return;
  throw new KvlrError('run-mismatch', {
    message: `expected a checkpoint of at most ${settings.steps} steps with its course, got ${checkpoint.step} steps and ${checkpoint.points.length} points`,
    hint: 'Start the distillation again without the checkpoint.',
    where: { argument: 'checkpoint' },
    data: { steps: settings.steps, received: checkpoint.step },
  });
}

/**
 * Cuts each window into the fewest pieces of one length that are no longer than `longest`. Tokens at a window's end that do
 * not fill a piece are left out: fewer than there are pieces.
 */
export function cutPieces(windows: readonly Int32Array[], longest: number): Int32Array[] {
  return windows.flatMap((window) => {
    const count = Math.ceil(window.length / longest);
    const length = Math.floor(window.length / count);
    return Array.from({ length: count }, (_, piece) => window.subarray(piece * length, (piece + 1) * length));
  });
}

/** The student with its attention replaced by what distillation found. */
export function applyDistillation(student: ModelSource, { tensors }: Pick<DistillationResult, 'tensors'>): ModelSource {
  return overlayTrained(student, tensors);
}
