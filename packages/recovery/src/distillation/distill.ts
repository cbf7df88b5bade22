import { type DenseTensor, throwIfAborted } from '@kvlr/core';
import { createSequenceContext, selectBackend } from '@kvlr/runtime';
import { getBackend } from '@tensorflow/tfjs-core';
import { AdaptedAttention } from '../attention/adapted-attention.ts';
import { TrainableAttention } from '../attention/trainable-attention.ts';
import type { TrainedAttention } from '../attention/trained-attention.ts';
import { AdamOptimizer } from '../training/adam-optimizer.ts';
import { batchOrder } from '../training/batch-order.ts';
import { learningRateAt } from '../training/learning-rate.ts';
import { backpropagate, type LossRequest } from './backpropagate.ts';
import { checkDistillationRequest } from './check-distillation-request.ts';
import { cutPieces } from './cut-pieces.ts';
import type { DistillationPoint, DistillationRequest, DistillationResult } from './distillation.ts';
import { type DistillationSettings, resolveDistillationSettings } from './distillation-settings.ts';
import { restoreState, saveState } from './distillation-state.ts';
import { heldOutLosses } from './held-out-losses.ts';
import { type LoadedLanguageModel, loadLanguageModel } from './loaded-language-model.ts';

/**
 * Distillation, end to end: trains the attention projections of all layers of a compressed model together, so that its
 * next-token distribution comes back to the original's, by AdamW on KL(original || student), optionally mixed with the
 * cross-entropy of the text (Hinton et al. 2015; METHOD: recovery after compression as in Yu et al. 2024, arXiv 2406.07056).
 * Matrices themselves are trained, or low-rank adapters that are merged at the end. Embedding, feed-forward blocks, norms and
 * head stay. Steps are taken on pieces of the windows: at equal tokens many steps of few ended lower than few of many
 * (docs/log.md). The result has the values with the least loss on the held-out windows, those of the start included.
 *
 * Memory: both models in float32, one stream [tokens of a step, hiddenSize] for each layer, the inner activations of one
 * layer, the logits of 512 rows, and three or four numbers for each trained one.
 *
 * @throws KvlrError 'invalid-argument', 'text-too-short', 'tokenizer-mismatch', 'unsupported-feature' (adapters on latent keys),
 *   'run-mismatch' (a checkpoint of something else), 'aborted' on the signal.
 */
export async function distill(request: DistillationRequest): Promise<DistillationResult> {
  const settings = resolveDistillationSettings(request.preset ?? 'full', request.settings);
  checkDistillationRequest(request, settings);
  const { backend, wasmPaths, onEvent } = request;
  if (backend !== undefined || !getBackend()) await selectBackend({ backend, wasmPaths, onEvent });
  const models: LoadedLanguageModel[] = [];
  try {
    for (const source of [request.teacher, request.student]) models.push(await loadLanguageModel(source));
    const [teacher, student] = models as [LoadedLanguageModel, LoadedLanguageModel];
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
    for (const model of models) model.dispose();
  }
}

interface LoadedParts {
  teacher: LoadedLanguageModel;
  student: LoadedLanguageModel;
  attentions: TrainedAttention[];
}

async function train(
  request: DistillationRequest,
  settings: DistillationSettings,
  parts: LoadedParts,
): Promise<DistillationResult> {
  const { heldOutWindows, checkpoint, onEvent, signal } = request;
  const { steps, nextTokenShare, weightDecay, evaluateEvery, patience, seed } = settings;
  const { student, attentions } = parts;
  const pieces = cutPieces(request.windows, settings.pieceLength);
  const piecesPerStep = Math.min(settings.piecesPerStep, pieces.length);
  const stepTokens = piecesPerStep * pieces[0]!.length;
  const contextOf = (batch: number, tokens: number) =>
    createSequenceContext({ shape: student.source.shape, batch, tokens });
  const contexts = {
    training: contextOf(piecesPerStep, pieces[0]!.length),
    heldOut: contextOf(1, heldOutWindows[0]!.length),
  };
  const base: Omit<LossRequest, 'context'> = { ...parts, nextTokenShare, signal };
  const parameters = (await Promise.all(attentions.map((attention) => attention.parameters()))).flat();
  const optimizer = new AdamOptimizer(parameters, { weightDecay });
  const state = { attentions, optimizer };
  const points: DistillationPoint[] = [];
  const look = async (step: number, trainLoss?: number): Promise<void> => {
    const losses = await heldOutLosses({ ...base, context: contexts.heldOut }, heldOutWindows);
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
      const { loss, gradients } = await backpropagate({ ...base, context: contexts.training }, batch);
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
    for (const context of Object.values(contexts)) context.dispose();
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
