import { type DenseTensor, KvlrError, type ModelSource } from '@kvlr/core';
import { disposeTensors, type LayerTensors, uploadLayer } from '@kvlr/runtime';
import { WholeProjections } from '../training/whole-projections.ts';
import {
  checkTokenIds,
  checkTrainingWindows,
  overlayTrained,
  startBackend,
  type TrainingRequest,
} from '../training-request.ts';
import {
  type ReconstructionPreset,
  type ReconstructionSettings,
  resolveReconstructionSettings,
} from './reconstruction-settings.ts';
import {
  advanceThroughAttention,
  advanceThroughFeedForward,
  embedWindows,
  pairStreams,
  type StreamPairs,
} from './streams.ts';
import { type TrainingPoint, trainAttention } from './train-attention.ts';

export interface ReconstructionRequest extends TrainingRequest {
  /** Default 'full'. */
  preset?: ReconstructionPreset;
  settings?: Partial<ReconstructionSettings>;
  /** Layers 0, 1, ... of an interrupted run with the same request: taken as they are. */
  completedLayers?: readonly ReconstructedLayer[];
  /** Called after each trained layer, before the next begins: the place to save it. */
  onLayerDone?: (layer: ReconstructedLayer) => void | Promise<void>;
}

/** One layer's attention after training. */
export interface ReconstructedLayer {
  layer: number;
  /** q, k, v and o (and biases) under the student's tensor names, matrices [out, in]. */
  tensors: Map<string, DenseTensor>;
  history: LayerHistory;
}

/** Errors are shares of the energy of what the original block adds to the stream. */
export interface LayerHistory {
  layer: number;
  /** Held-out error before and after. */
  initialError: number;
  finalError: number;
  /** What the layer was left with: the closed form, its output projection refitted, or what the steps found. */
  kept: 'closed form' | 'refit' | 'steps';
  points: TrainingPoint[];
}

export interface ReconstructionResult {
  layers: ReconstructedLayer[];
  history: LayerHistory[];
}

/**
 * Block reconstruction: layer by layer, in order, the attention projections of a compressed model are trained on
 * calibration text so that the residual stream after the block meets the original one, given the stream of the model
 * compressed so far. The feed-forward blocks stay; errors of earlier layers are thus seen and partly corrected by later ones.
 * (As in layer-wise output reconstruction for pruning and quantisation: AdaRound 2020, BRECQ 2021.)
 *
 * Throws 'invalid-argument' when teacher and student or the windows do not fit, 'aborted' on the signal.
 */
export async function reconstructBlocks(request: ReconstructionRequest): Promise<ReconstructionResult> {
  const settings = resolveReconstructionSettings(request.preset ?? 'full', request.settings);
  checkReconstructionRequest(request);
  const { teacher, student, signal } = request;
  await startBackend(request);
  const windows = [...request.windows, ...request.heldOutWindows];
  const trainCount = request.windows.length;
  let original = await embedWindows(teacher, windows);
  let compressed = await embedWindows(student, windows);
  const layers: ReconstructedLayer[] = [];
  for (let layer = 0; layer < teacher.shape.numLayers; layer++) {
    const ofTeacher = { shape: teacher.shape, layer, signal };
    const ofStudent = { shape: student.shape, layer, signal };
    const before = original;
    const isLast = layer === teacher.shape.numLayers - 1;
    const targets = await withLayer(teacher, layer, async (weights) => {
      const after = await advanceThroughAttention(before, weights, ofTeacher);
      if (!isLast) original = await advanceThroughFeedForward({ before, between: after }, weights, ofTeacher);
      return after;
    });
    let done = request.completedLayers?.[layer];
    if (done === undefined) {
      const streams = { before, targets, compressed };
      const train = pairStreams(streams, 0, trainCount);
      const heldOut = pairStreams(streams, trainCount, windows.length);
      done = await reconstructLayer(request, settings, layer, train, heldOut);
      await request.onLayerDone?.(done);
    }
    layers.push(done);
    if (isLast) break;
    compressed = await withLayer(applyReconstruction(student, layers), layer, async (weights) => {
      const between = await advanceThroughAttention(compressed, weights, ofStudent);
      return advanceThroughFeedForward({ before: compressed, between }, weights, ofStudent);
    });
  }
  return { layers, history: layers.map(({ history }) => history) };
}

async function reconstructLayer(
  request: ReconstructionRequest,
  settings: ReconstructionSettings,
  layer: number,
  train: StreamPairs,
  heldOut: StreamPairs,
): Promise<ReconstructedLayer> {
  const { student, onEvent, signal } = request;
  const { shape } = student;
  return withLayer(student, layer, async (weights) => {
    const attention = new WholeProjections(weights, { scoreStep: settings.scoreStep });
    try {
      const course = await trainAttention({
        ...{ attention, shape, layer, train, heldOut, settings, signal },
        onUntrainable: (reason) =>
          onEvent?.({
            type: 'warning',
            message: `Layer ${layer + 1} keeps its closed form: ${reason}.`,
            data: { layer, reason },
          }),
        onStep: (step) =>
          onEvent?.({
            type: 'progress',
            stage: 'recovery',
            completed: layer * settings.steps + step,
            total: shape.numLayers * settings.steps,
            unit: 'steps',
            detail: `layer ${layer + 1} of ${shape.numLayers}`,
          }),
      });
      const points = measuredPoints(course);
      const errors = points.map(({ heldOutError }) => heldOutError);
      const finalError = Math.min(...errors);
      const best = points[errors.indexOf(finalError)]!;
      const kept = best.step > 0 ? 'steps' : finalError < errors[0]! ? 'refit' : 'closed form';
      const history = { layer, initialError: errors[0]!, finalError, kept, points } satisfies LayerHistory;
      const steps = points.at(-1)!.step;
      const rejected = steps > 0 && kept !== 'steps' ? `; kept: ${kept}, ${steps} steps rejected` : '';
      onEvent?.({
        type: 'note',
        message: `Layer ${layer + 1}: held-out error ${percent(history.initialError)} before, ${percent(finalError)} after${rejected}.`,
        data: { ...history },
      });
      return { layer, tensors: await attention.download(student, layer), history };
    } finally {
      attention.dispose();
    }
  });
}

/** Points without numbers that are none. A layer whose error could not be measured has lost all of it, as far as is known. */
function measuredPoints(course: readonly TrainingPoint[]): TrainingPoint[] {
  const measured = course.filter(({ heldOutError }) => Number.isFinite(heldOutError));
  if (measured.length === 0) return [{ step: 0, heldOutError: 1 }];
  return measured.map(({ trainError, ...point }) => (Number.isFinite(trainError) ? { ...point, trainError } : point));
}

async function withLayer<T>(
  source: ModelSource,
  layer: number,
  use: (weights: LayerTensors) => Promise<T>,
): Promise<T> {
  const weights = await uploadLayer(source, layer);
  try {
    return await use(weights);
  } finally {
    disposeTensors(weights);
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

/** Throws 'invalid-argument' or 'text-too-short' when the parts of a request do not fit together. */
function checkReconstructionRequest(request: ReconstructionRequest): void {
  const { teacher, student, completedLayers = [] } = request;
  for (const name of ['numLayers', 'hiddenSize', 'numAttentionHeads'] as const) {
    if (teacher.shape[name] === student.shape[name]) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected a student with ${name} ${teacher.shape[name]} like its teacher, got ${student.shape[name]}`,
      hint: 'Give the model that the student was compressed from as the teacher.',
      where: { argument: 'student' },
      data: { name, teacher: teacher.shape[name], student: student.shape[name] },
    });
  }
  checkTrainingWindows(request);
  checkTokenIds([...request.windows, ...request.heldOutWindows], student.shape.vocabSize);
  completedLayers.forEach(({ layer }, index) => {
    if (layer === index && index < student.shape.numLayers) return;
    throw new KvlrError('run-mismatch', {
      message: `expected completed layers 0, 1, ... in order, got layer ${layer} in place ${index}`,
      hint: 'Start the reconstruction again without the saved layers.',
      where: { argument: 'completedLayers' },
      data: { layer, index },
    });
  });
}

/** The student with the attention of the given layers replaced by what block reconstruction found. */
export function applyReconstruction(student: ModelSource, layers: readonly ReconstructedLayer[]): ModelSource {
  return overlayTrained(student, new Map<string, DenseTensor>(layers.flatMap((layer) => [...layer.tensors])));
}
