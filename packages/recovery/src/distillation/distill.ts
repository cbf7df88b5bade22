import { type DenseTensor, globalTensors, KvlrError, type ModelSource } from '@kvlr/core';
import { type DecoderTensors, disposeDecoder, uploadDecoder, uploadTensors } from '@kvlr/runtime';
import { type Adapter, requireFit } from '../adapters/adapter.ts';
import { areWhole, NativePasses } from '../native/native-passes.ts';
import type { NativeTraining } from '../native/native-training.ts';
import { fingerprint, overlayTrained } from '../trained-model.ts';
import { type FrozenLayers, packedLayers, residentLayers } from '../training/frozen-layers.ts';
import { LowRankAdapters, type LowRankUpdate } from '../training/low-rank-adapters.ts';
import type { TrainingTarget } from '../training/targets.ts';
import type { TrainedLayer } from '../training/trained-layer.ts';
import { WholeProjections } from '../training/whole-projections.ts';
import { checkTokenIds, checkTrainingWindows, startBackend, type TrainingRequest } from '../training-request.ts';
import {
  type DistillationPreset,
  type DistillationSettings,
  resolveDistillationSettings,
} from './distillation-settings.ts';
import { type DistillationCheckpoint, type DistillationPoint, leastOf } from './distillation-state.ts';
import { needsTeacher } from './objective.ts';
import { cutPieces, type TrainingPiece, type TrainingWindow, tokensOf } from './pieces.ts';
import {
  memoryTeacherStore,
  missingPieces,
  RecordedTeacher,
  recordTeacher,
  type TeacherStore,
} from './recorded-teacher.ts';
import { takeSteps } from './take-steps.ts';
import { LoadedTeacher, type Teacher } from './teacher.ts';

export interface DistillationRequest extends Omit<TrainingRequest, 'teacher' | 'windows' | 'heldOutWindows'> {
  /** The original model. May be absent where the objective is the text's own next tokens alone. */
  teacher?: ModelSource;
  /** Token ids of training windows, all of one length, of which all predictions count or some. */
  windows: TrainingWindow[];
  /** Windows of other text, of the same length, that decide which values are taken and when to stop. */
  heldOutWindows: TrainingWindow[];
  /** Default 'full'. */
  preset?: DistillationPreset;
  settings?: Partial<DistillationSettings>;
  /** Adapters to start from instead of new ones, by layer. Their rank and targets have to be those of the settings. */
  adapters?: Adapter['layers'];
  /** Of an interrupted run with the same request: training goes on behind it, to the same result. */
  checkpoint?: DistillationCheckpoint;
  /** Is handed a checkpoint after every look at the held-out windows, and between them as the settings say. */
  onCheckpoint?: (checkpoint: DistillationCheckpoint) => void | Promise<void>;
  /** Where what the original says is kept, with `topTokens`. Default: in memory. */
  teacherStore?: TeacherStore;
  /** Runs the layers of both models in native code where whole projections are trained, several times faster than WASM. */
  native?: NativeTraining | undefined;
}

export interface DistillationResult {
  /** All that was trained, under the student's tensor names, matrices [out, in]; adapters merged. */
  tensors: Map<string, DenseTensor>;
  points: DistillationPoint[];
  /** The point whose values were taken. */
  best: DistillationPoint;
  /** Tokens trained on. */
  trainingTokens: number;
  /** What was trained, where adapters were. */
  adapter?: Adapter;
}

/**
 * Training end to end: the attention projections of all layers of a compressed model together, so that its next-token distribution
 * comes back to the original's, by AdamW on KL(original || student), mixed with the cross-entropy of the text or the distance of the
 * streams as asked (`Objective`; as recovery after compression, Yu et al. 2024, arXiv 2406.07056). Matrices themselves are trained, or
 * low-rank adapters that are merged at the end (LoRA, arXiv 2106.09685); other projections where `targets` names them. All else stays.
 * Steps are taken on pieces of the windows: at equal tokens many steps of few ended lower than few of many (docs/log.md). The result
 * has the values with the least loss on the held-out windows: of the start, of a look between, or behind the last step, there or back a
 * part of the way to the start (`partsOfTheWay`).
 *
 * Memory: both models in float32 (with adapters their layers as they lie in their files, one of them unpacked at a time), one stream [tokens of a pass, hiddenSize] for each layer, the inner activations of one
 * layer, the logits of 512 rows, and three or four numbers for each trained one. With `topTokens` the original leaves before the
 * student is loaded.
 *
 * @throws KvlrError 'invalid-argument', 'text-too-short', 'tokenizer-mismatch',
 *   'run-mismatch' (a checkpoint of something else), 'aborted' on the signal.
 */
export async function distill(request: DistillationRequest): Promise<DistillationResult> {
  const settings = resolveDistillationSettings(request.preset ?? 'full', request.settings);
  checkDistillationRequest(request, settings);
  await startBackend(request);
  const pieces = {
    training: cutPieces(request.windows, settings.pieceLength, 'training'),
    heldOut: cutPieces(request.heldOutWindows, Number.POSITIVE_INFINITY, 'held-out'),
  };
  const { teacher, release } = await loadTeacher(request, settings, pieces);
  try {
    const { model: student, frozen } = await loadDecoder(request, request.student, settings);
    const layers: TrainedLayer[] = [];
    let native: NativePasses | undefined;
    try {
      for (let layer = 0; layer < student.shape.numLayers; layer++) {
        layers.push(await frozen.use(layer, (weights) => createLayer(weights, layer, settings, request.adapters)));
      }
      requireVariables(layers, settings);
      if (request.native && areWhole(layers)) {
        native = await NativePasses.open(request.native, request.student, layers, request.signal);
      }
      const points = await takeSteps({ ...request, settings, pieces, teacher, student, layers, frozen, native });
      return await finish(request, settings, layers, frozen, points);
    } finally {
      native?.dispose();
      for (const layer of layers) layer.dispose();
      disposeDecoder(student);
    }
  } finally {
    release();
  }
}

/** A model's tensors, and its layers: on the device as well, or packed where adapters are trained or native code has them. */
async function loadDecoder(
  { native, signal }: Pick<DistillationRequest, 'native' | 'signal'>,
  source: ModelSource,
  { adapterRank }: DistillationSettings,
): Promise<{ model: DecoderTensors; frozen: FrozenLayers }> {
  if (native === undefined && adapterRank === 0) {
    const model = await uploadDecoder(source, signal);
    return { model, frozen: residentLayers(model) };
  }
  const { shape } = source;
  const globals = await uploadTensors(source, globalTensors(shape));
  return { model: { shape, globals, layers: [] }, frozen: packedLayers(source, signal) };
}

function createLayer(
  weights: ConstructorParameters<typeof WholeProjections>[0],
  layer: number,
  { adapterRank, adapterAlpha, adapterDropout, targets, scoreStep, feedForwardStep, seed }: DistillationSettings,
  adapters: DistillationRequest['adapters'],
): TrainedLayer {
  if (adapterRank === 0) return new WholeProjections(weights, { scoreStep, feedForwardStep, targets });
  const adapter = {
    rank: adapterRank,
    alpha: adapterAlpha || adapterRank,
    dropout: adapterDropout,
    targets,
    seed: seed + layer,
  };
  return new LowRankAdapters(weights, adapter, adapters?.[layer]);
}

function requireVariables(layers: readonly TrainedLayer[], { targets }: DistillationSettings): void {
  if (layers.some((layer) => layer.trained.size > 0)) return;
  throw new KvlrError('invalid-argument', {
    message: `expected projections that the model has, got ${targets.join(', ')}`,
    where: { argument: 'targets' },
    data: { targets },
  });
}

/** The original, in memory or recorded; what it holds is freed by `release`. */
async function loadTeacher(
  request: DistillationRequest,
  settings: DistillationSettings,
  pieces: { training: readonly TrainingPiece[]; heldOut: readonly TrainingPiece[] },
): Promise<{ teacher: Teacher | undefined; release: () => void }> {
  const { teacher: source, signal, onEvent, teacherStore: store = memoryTeacherStore() } = request;
  const { topTokens, temperature } = settings;
  if (source === undefined) return { teacher: undefined, release: () => {} };
  const load = async () => {
    const { model, frozen } = await loadDecoder(request, source, settings);
    try {
      const native = request.native && (await NativePasses.open(request.native, source, [], signal));
      const release = () => {
        native?.dispose();
        disposeDecoder(model);
      };
      return { model, how: { frozen, native }, release };
    } catch (error) {
      disposeDecoder(model);
      throw error;
    }
  };
  if (topTokens === 0) {
    const { model, how, release } = await load();
    const teacher = new LoadedTeacher(model, how);
    return {
      teacher,
      release: () => {
        teacher.dispose();
        release();
      },
    };
  }
  const recordings = [
    { temperature, missing: await missingPieces(store, pieces.training, temperature) },
    { temperature: 1, missing: await missingPieces(store, pieces.heldOut, 1) },
  ];
  const total = recordings.reduce((sum, { missing }) => sum + missing.length, 0);
  if (total > 0) {
    const { model, how, release } = await load();
    let done = 0;
    const onPiece = () => {
      done += 1;
      onEvent?.({ type: 'progress', stage: 'recovery', completed: done, total, unit: 'pieces recorded' });
    };
    try {
      for (const { missing, temperature } of recordings) {
        await recordTeacher(model, missing, store, { topTokens, temperature, how, signal, onPiece });
      }
    } finally {
      release();
    }
  }
  return { teacher: new RecordedTeacher(store, source.shape.vocabSize), release: () => {} };
}

/** Takes the best values. */
async function finish(
  { student, onEvent }: DistillationRequest,
  { adapterRank: rank, adapterAlpha, adapterDropout: dropout }: DistillationSettings,
  layers: readonly TrainedLayer[],
  frozen: FrozenLayers,
  points: DistillationPoint[],
): Promise<DistillationResult> {
  const best = leastOf(points) ?? points[0]!;
  const tensors = new Map<string, DenseTensor>();
  const adapters: Map<TrainingTarget, LowRankUpdate>[] = [];
  for (const [index, layer] of layers.entries()) {
    layer.restore();
    const downloaded = await frozen.use(index, (weights) => layer.download(student, index, weights));
    for (const [name, tensor] of downloaded) tensors.set(name, tensor);
    if (layer instanceof LowRankAdapters) adapters.push(await layer.updates());
  }
  const [start, last] = [points[0]!, points.at(-1)!];
  const { what, before, after } = describeCourse(start, best);
  const where = best.averaged
    ? ', of the running mean'
    : best.partOfTheWay
      ? `, at ${best.partOfTheWay} of the way`
      : '';
  onEvent?.({
    type: 'note',
    message: `Distillation: held-out ${what} ${before} before, ${after} after ${best.step} steps${where}.`,
    data: { points },
  });
  const adapter = { rank, alpha: adapterAlpha || rank, dropout, layers: adapters };
  return { tensors, points, best, trainingTokens: last.tokens, ...(rank > 0 && { adapter }) };
}

/** The held-out figure that tells most, before and after: the KL divergence, or without an original the next-token loss. */
export function describeCourse(
  start: DistillationPoint,
  best: DistillationPoint,
): { what: string; before: string; after: string } {
  const { heldOutDivergence: first } = start;
  const { heldOutDivergence: last } = best;
  if (first !== undefined && last !== undefined) {
    return { what: 'KL divergence', before: first.toFixed(4), after: last.toFixed(4) };
  }
  const perplexity = ({ heldOutNextToken }: DistillationPoint) => Math.exp(heldOutNextToken).toFixed(2);
  return { what: 'perplexity', before: perplexity(start), after: perplexity(best) };
}

/** Throws when the parts of a request do not fit together: see `distill`. */
function checkDistillationRequest(request: DistillationRequest, settings: DistillationSettings): void {
  const { teacher, student, checkpoint } = request;
  const { vocabSize } = student.shape;
  if (teacher === undefined && needsTeacher(settings)) {
    throw new KvlrError('invalid-argument', {
      message: 'expected the original model, got none',
      hint: "Give the model that the student was compressed from, or train on the text's next tokens alone.",
      where: { argument: 'teacher' },
    });
  }
  if (teacher !== undefined && teacher.shape.vocabSize !== vocabSize) {
    throw new KvlrError('invalid-argument', {
      message: `expected a student with its teacher's vocabulary of ${teacher.shape.vocabSize}, got ${vocabSize}`,
      hint: 'Give the model that the student was compressed from as the teacher.',
      where: { argument: 'student' },
      data: { name: 'vocabSize', teacher: teacher.shape.vocabSize, student: vocabSize },
    });
  }
  const [windows, heldOutWindows] = [request.windows.map(tokensOf), request.heldOutWindows.map(tokensOf)];
  checkTrainingWindows({ windows, heldOutWindows }, 2);
  checkTokenIds([...windows, ...heldOutWindows], vocabSize);
  if (request.adapters) requireFit(student, { rank: settings.adapterRank, layers: request.adapters });
  if (checkpoint === undefined || (checkpoint.step <= settings.steps && checkpoint.points.length > 0)) return;
  throw new KvlrError('run-mismatch', {
    message: `expected a checkpoint of at most ${settings.steps} steps with its course, got ${checkpoint.step} steps and ${checkpoint.points.length} points`,
    hint: 'Start the distillation again without the checkpoint.',
    where: { argument: 'checkpoint' },
    data: { steps: settings.steps, received: checkpoint.step },
  });
}

/** The student with what distillation found in the place of its own. */
export function applyDistillation(student: ModelSource, { tensors }: Pick<DistillationResult, 'tensors'>): ModelSource {
  return overlayTrained(student, tensors, fingerprint(tensors));
}
