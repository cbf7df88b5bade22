import { KvlrError, type ModelSource } from '@kvlr/core';
import { disposeTensors, type LayerTensors, uploadLayer } from '@kvlr/runtime';
import { WholeProjections } from '../training/whole-projections.ts';
import { checkTokenIds, checkTrainingWindows, startBackend, type TrainingRequest } from '../training-request.ts';
import {
  applyReconstruction,
  closeHistory,
  type LayerExchange,
  type LayerHistory,
  type ReconstructedLayer,
  warnUntrainable,
} from './reconstructed-layer.ts';
import {
  type ReconstructionPreset,
  type ReconstructionSettings,
  refitsAlone,
  resolveReconstructionSettings,
} from './reconstruction-settings.ts';
import { type LoadLayer, refitBlocks } from './refit-blocks.ts';
import {
  advanceThroughAttention,
  advanceThroughFeedForward,
  embedWindows,
  pairStreams,
  type StreamPairs,
} from './streams.ts';
import { trainAttention } from './train-attention.ts';

export interface ReconstructionRequest extends TrainingRequest, LayerExchange {
  /** Default 'full'. */
  preset?: ReconstructionPreset;
  settings?: Partial<ReconstructionSettings>;
  /**
   * What runs layers where no gradients are needed: a refit without steps of a decoder without a norm behind the block. Default:
   * TensorFlow.js, on the backend.
   */
  loadLayer?: LoadLayer | undefined;
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
  const { loadLayer } = request;
  if (loadLayer && refitsAlone(settings, student.shape)) {
    return resultOf(await refitBlocks({ ...request, loadLayer }));
  }
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
      const { hiddenSize } = student.shape;
      const train = pairStreams(streams, 0, trainCount, hiddenSize);
      const heldOut = pairStreams(streams, trainCount, windows.length, hiddenSize);
      try {
        done = await reconstructLayer(request, settings, layer, train, heldOut);
      } finally {
        for (const { inputs, targets, weights } of [train, heldOut]) {
          for (const held of [inputs, targets, weights]) held.dispose();
        }
      }
      await request.onLayerDone?.(done);
    }
    layers.push(done);
    if (isLast) break;
    compressed = await withLayer(applyReconstruction(student, layers), layer, async (weights) => {
      const between = await advanceThroughAttention(compressed, weights, ofStudent);
      return advanceThroughFeedForward({ before: compressed, between }, weights, ofStudent);
    });
  }
  return resultOf(layers);
}

function resultOf(layers: ReconstructedLayer[]): ReconstructionResult {
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
        onUntrainable: (reason) => warnUntrainable(layer, reason, onEvent),
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
      const history = closeHistory(layer, course, onEvent);
      return { layer, tensors: await attention.download(student, layer), history };
    } finally {
      attention.dispose();
    }
  });
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
