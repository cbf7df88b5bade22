import { KvlrError, layerTensors, type ModelSource, memoryStreams, type StreamStorage } from '@kvlr/core';
import { disposeTensors, type LayerTensors, uploadTensors } from '@kvlr/runtime';
import { getBackend } from '@tensorflow/tfjs-core';
import type { NativeTraining } from '../native/native-training.ts';
import { attentionTargets } from '../training/targets.ts';
import { WholeProjections } from '../training/whole-projections.ts';
import { checkTokenIds, checkTrainingWindows, startBackend, type TrainingRequest } from '../training-request.ts';
import type { BlockPasses, StreamPairs } from './block-passes.ts';
import { BlockTargets } from './block-targets.ts';
import { type LoadLayer, loadedPasses, tensorPasses } from './layer-passes.ts';
import { NativeBlockPasses } from './native-block.ts';
import {
  applyReconstruction,
  closeHistory,
  type KeptReconstruction,
  keepInMemory,
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
  trainsNatively,
} from './reconstruction-settings.ts';
import { embedWindows } from './streams.ts';
import { type BlockTask, TensorBlock } from './tensor-block.ts';
import { trainAttention } from './train-attention.ts';

/** Native code for reconstruction: whole layers, and their attention in training. */
export interface NativeReconstruction {
  loadLayer: LoadLayer;
  training: Pick<NativeTraining, 'loadBlock'>;
}

export interface ReconstructionRequest extends TrainingRequest, LayerExchange {
  /** Default 'full'. */
  preset?: ReconstructionPreset;
  settings?: Partial<ReconstructionSettings>;
  /**
   * Runs windows in the place of TensorFlow.js, of decoders without a norm behind the sum of stream and block; the variables and their
   * steps stay on the backend.
   */
  native?: NativeReconstruction | undefined;
  /**
   * Where streams lie between two layers. Default: memory, three sets of all windows. TensorFlow.js reads two of them for as long as a block
   * is trained.
   */
  streams?: StreamStorage | undefined;
}

export interface ReconstructionResult {
  layers: KeptReconstruction[];
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
export async function reconstructBlocks(given: ReconstructionRequest): Promise<ReconstructionResult> {
  const settings = resolveReconstructionSettings(given.preset ?? 'full', given.settings);
  checkReconstructionRequest(given);
  await startBackend(given);
  const request = { ...given, native: chooseNative(given) };
  const { teacher, student, signal, native, streams = memoryStreams, keepLayer = keepInMemory } = request;
  const pass = native ? loadedPasses(native.loadLayer, signal) : tensorPasses(signal);
  const windows = [...request.windows, ...request.heldOutWindows];
  const [count, trainCount] = [windows.length, request.windows.length];
  const { numLayers, hiddenSize } = teacher.shape;
  const [original, compressed, reached] = [streams.open(), streams.open(), streams.open()];
  const layers: KeptReconstruction[] = [];
  const reconstruct = async (layer: number): Promise<KeptReconstruction> => {
    const completed = request.completedLayers?.[layer];
    if (completed !== undefined) {
      await pass(teacher, layer, { store: original, count });
      return completed;
    }
    const targets = new BlockTargets(hiddenSize, reached);
    await pass(teacher, layer, { store: original, count }, (...window) => targets.add(...window));
    const train = targets.pairs(compressed, 0, trainCount);
    const heldOut = targets.pairs(compressed, trainCount);
    return keepLayer(await reconstructLayer(request, settings, layer, train, heldOut));
  };
  try {
    await embedWindows(teacher, windows, original);
    await embedWindows(student, windows, compressed);
    for (let layer = 0; layer < numLayers; layer++) {
      layers.push(await reconstruct(layer));
      if (layer === numLayers - 1) break;
      await pass(applyReconstruction(student, layers), layer, { store: compressed, count });
    }
  } finally {
    await Promise.allSettled([original, compressed, reached].map((store) => store.close()));
  }
  return { layers, history: layers.map(({ history }) => history) };
}

/** Native code where it can train these blocks; which of them trains, and why, is told where there is a choice. */
function chooseNative({ native, student, onEvent }: ReconstructionRequest): NativeReconstruction | undefined {
  if (native === undefined) return undefined;
  const trains = trainsNatively(student.shape);
  const where = trains
    ? 'native code'
    : `TensorFlow.js (${getBackend()}): the model has norms behind the sum of stream and block`;
  onEvent?.({ type: 'note', message: `Blocks are trained in ${where}.`, data: { native: trains } });
  return trains ? native : undefined;
}

async function reconstructLayer(
  request: ReconstructionRequest,
  settings: ReconstructionSettings,
  layer: number,
  train: StreamPairs,
  heldOut: StreamPairs,
): Promise<ReconstructedLayer> {
  const { student, onEvent, signal, recordSteps } = request;
  const { shape } = student;
  const targets = refitsAlone(settings, shape) ? (['o_proj'] as const) : attentionTargets;
  return withAttention(student, layer, async (weights) => {
    const attention = new WholeProjections(weights, { scoreStep: settings.scoreStep, targets });
    let passes: BlockPasses | undefined;
    try {
      passes = await openPasses(request, { attention, shape, layer, train, heldOut, signal, recordSteps });
      const course = await trainAttention({
        ...{ passes, attention, shape, layer, train, settings, signal },
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
      const tensors = history.kept === 'closed form' ? new Map() : await attention.download(student, layer);
      return { layer, tensors, history };
    } finally {
      passes?.dispose();
      attention.dispose();
    }
  });
}

/** The block in native code, or on the backend where that has no gradients for it. */
async function openPasses({ native, student, onEvent }: ReconstructionRequest, task: BlockTask): Promise<BlockPasses> {
  if (native === undefined) return TensorBlock.open(task);
  const { attention, layer } = task;
  try {
    const block = await native.training.loadBlock(student, layer, [...attention.roles.keys()]);
    return new NativeBlockPasses(block, task);
  } catch (error) {
    if (!KvlrError.isInstance(error) || error.code !== 'unsupported-feature') throw error;
    const message = `Layer ${layer + 1} is trained in TensorFlow.js (${getBackend()}): ${error.reason}.`;
    onEvent?.({ type: 'note', message, data: { layer, native: false } });
    return TensorBlock.open(task);
  }
}

/** Uploads the tensors of a layer's attention for as long as they are used. */
async function withAttention<Value>(
  source: ModelSource,
  layer: number,
  use: (weights: LayerTensors) => Promise<Value>,
): Promise<Value> {
  const wanted = layerTensors(source.shape, layer).filter(({ part }) => part === 'attention');
  const weights = await uploadTensors(source, wanted);
  try {
    return await use(weights);
  } finally {
    disposeTensors(weights);
  }
}

/** Throws 'invalid-argument' or 'text-too-short' when the parts of a request do not fit together. */
function checkReconstructionRequest(request: ReconstructionRequest): void {
  const { teacher, student, completedLayers = [] } = request;
  for (const name of ['numLayers', 'hiddenSize', 'numAttentionHeads', 'vocabSize'] as const) {
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
