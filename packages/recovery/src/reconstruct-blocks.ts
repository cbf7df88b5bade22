import type { ModelSource } from '@kvlr/core';
import { disposeLayer, type LayerTensors, selectBackend, uploadLayer } from '@kvlr/runtime';
import { getBackend } from '@tensorflow/tfjs-core';
import { applyReconstruction } from './apply-reconstruction.ts';
import { TrainableAttention } from './attention/trainable-attention.ts';
import { checkReconstructionRequest } from './check-reconstruction-request.ts';
import type { ReconstructedLayer, ReconstructionRequest, ReconstructionResult } from './reconstruction.ts';
import { type ReconstructionSettings, resolveReconstructionSettings } from './reconstruction-settings.ts';
import { advanceThroughAttention, advanceThroughFeedForward } from './streams/advance-streams.ts';
import { embedWindows } from './streams/embed-windows.ts';
import { pairStreams, type StreamPairs } from './streams/stream-pairs.ts';
import { trainAttention } from './training/train-attention.ts';

/**
 * Block reconstruction: layer by layer, in order, the attention projections of a compressed model are trained on
 * calibration text so that the residual stream after the block meets the original one, given the stream of the model
 * compressed so far. The feed-forward blocks stay; errors of earlier layers are thus seen and partly mended by later ones.
 * (As in layer-wise output reconstruction for pruning and quantisation: AdaRound 2020, BRECQ 2021.)
 *
 * Throws 'invalid-argument' when teacher and student or the windows do not fit, 'aborted' on the signal.
 */
export async function reconstructBlocks(request: ReconstructionRequest): Promise<ReconstructionResult> {
  const settings = resolveReconstructionSettings(request.preset ?? 'full', request.settings);
  checkReconstructionRequest(request);
  const { teacher, student, onEvent, signal } = request;
  const { backend, wasmPaths } = request;
  if (backend !== undefined || !getBackend()) await selectBackend({ backend, wasmPaths, onEvent });
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
      if (!isLast) original = await advanceThroughFeedForward(after, weights, ofTeacher);
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
    compressed = await withLayer(applyReconstruction(student, layers), layer, async (weights) =>
      advanceThroughFeedForward(await advanceThroughAttention(compressed, weights, ofStudent), weights, ofStudent),
    );
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
    const attention = new TrainableAttention(weights, settings.scoreStep);
    try {
      const points = await trainAttention({
        ...{ attention, shape, layer, train, heldOut, settings, signal },
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
      const errors = points.map(({ heldOutError }) => heldOutError);
      const history = { layer, initialError: errors[0]!, finalError: Math.min(...errors), points };
      onEvent?.({
        type: 'note',
        message: `Layer ${layer + 1}: held-out error ${percent(history.initialError)} before, ${percent(history.finalError)} after.`,
        data: { ...history },
      });
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
    disposeLayer(weights);
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}
