import type { CalibrationText, SplitWindows } from '@kvlr/calibration';
import { KvlrError, type ModelSource, type StreamStorage } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import {
  applyReconstruction,
  type KeptReconstruction,
  keptReconstruction,
  type LayerHistory,
  type NativeReconstruction,
  type ReconstructedLayer,
  type ReconstructionRequest,
  reconstructBlocks,
} from '@kvlr/recovery';
import { type ResolvedRecovery, resolveRecovery } from '../recipe.ts';
import { type ArtefactKey, bundleCodec } from '../run/artefact.ts';
import { layerArtefactName, type RunContext, recentLayer, type Stage } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';
import { type Distillation, type DistillationStageRequest, distillStudent } from './distillation.ts';

/** What both stages are given: `student` is the model with closed-form factors. */
export interface RecoveryRequest extends DistillationStageRequest {
  /** Reconstructs blocks. Default: TensorFlow.js. */
  nativeBlocks?: NativeReconstruction | undefined;
  /** Where a reconstruction's streams lie between two layers. Default: memory. */
  streams?: StreamStorage | undefined;
}

export interface Recovery extends Distillation {
  history: LayerHistory[];
}

/** Stages 5 and 6: whatever the recipe asks for behind the closed forms, layer by layer and then end to end. */
export async function recoverStudent(context: RunContext, request: RecoveryRequest): Promise<Recovery> {
  const { model, history } = await reconstruct(context, request);
  return { history, ...(await distillStudent(context, { ...request, student: model })) };
}

/** Fewer windows than this are too little text to train blocks on: one that has no room for them is refused. */
const LEAST_WINDOWS = 48;

/** Windows that blocks are reconstructed on, and those that decide when a layer is done; throws 'text-too-short'. */
export function reconstructionWindows(text: CalibrationText, settings: Recipe['recovery']): SplitWindows | undefined {
  const recovery = recoveryOn(text, settings);
  if (recovery === undefined) return undefined;
  const { trainingWindows: trainingCount, heldOutWindows: heldOutCount, windowLength: length } = recovery;
  return text.split({ trainingCount, heldOutCount, length, seed: recovery.settings.seed });
}

/**
 * A recipe's recovery on a text. Where the recipe names no number of windows, a preset takes those that the text has room for, at most its
 * own.
 */
export function recoveryOn(text: CalibrationText, settings: Recipe['recovery']): ResolvedRecovery | undefined {
  const recovery = resolveRecovery(settings);
  if (recovery === undefined || settings.trainingWindows !== undefined) return recovery;
  const { trainingWindows, heldOutWindows, windowLength } = recovery;
  const room = Math.floor(text.tokenIds.length / windowLength) - heldOutWindows;
  return { ...recovery, trainingWindows: Math.min(trainingWindows, Math.max(room, LEAST_WINDOWS)) };
}

/** Where a run keeps reconstructed layers: those that are there, from the first on, and how to keep another. */
export async function layersOfRun(
  context: RunContext,
  stage: Stage,
  folder: string,
  key: ArtefactKey,
): Promise<{ completedLayers: KeptReconstruction[]; keepLayer: NonNullable<ReconstructionRequest['keepLayer']> }> {
  const artefactOf = (layer: number) => ({ name: layerArtefactName(folder, layer), key, codec: layerCodec });
  const read = recentLayer((layer) => context.readAgain(artefactOf(layer)));
  const completedLayers: KeptReconstruction[] = [];
  for (let earlier = await stage.load(artefactOf(0)); earlier; ) {
    completedLayers.push(keptReconstruction(earlier.value, read));
    earlier = await stage.load(artefactOf(completedLayers.length));
  }
  const keepLayer = async (layer: ReconstructedLayer) => {
    await stage.savePiece(artefactOf(layer.layer), layer);
    return keptReconstruction(layer, read);
  };
  return { completedLayers, keepLayer };
}

/** One reconstructed layer: its tensors under the model's names, the course of its errors as JSON. */
const layerCodec = bundleCodec<ReconstructedLayer>(
  ({ history, tensors }) => ({ metadata: { history: JSON.stringify(history) }, tensors }),
  ({ metadata, tensors }) => {
    const history = JSON.parse(metadata.history ?? '{}') as LayerHistory;
    return { layer: history.layer, tensors, history };
  },
);

/**
 * The attention of every layer trained back to the original stream, in order. Each layer is saved when it is done and let go, so that a
 * run that was cut resumes with the next one, and memory does not grow with their number.
 */
async function reconstruct(
  context: RunContext,
  { teacher, student, settings, text, key, nativeBlocks, streams }: RecoveryRequest,
): Promise<{ model: ModelSource; history: LayerHistory[] }> {
  const recovery = resolveRecovery(settings);
  if (recovery === undefined) return { model: student, history: [] };
  const original = requireTeacher(teacher);
  const { numLayers } = original.shape;
  const title =
    recovery.settings.steps === 0 ? 'Output projections refitted' : `Block reconstruction (${recovery.preset})`;
  return context.stage('recovery', title, async (stage) => {
    const { completedLayers: kept, keepLayer } = await layersOfRun(context, stage, artefactNames.recovery, key);
    stage.skipped = kept.length === numLayers;
    if (stage.skipped) return finish(kept);
    if (kept.length > 0) stage.detail = `${kept.length} of ${numLayers} layers from the run directory`;
    const { training, heldOut } = reconstructionWindows(text, settings)!;
    const { layers } = await reconstructBlocks({
      ...stage.control,
      teacher: original,
      student,
      windows: training,
      heldOutWindows: heldOut,
      preset: recovery.preset,
      settings: recovery.settings,
      native: nativeBlocks,
      streams,
      ...{ completedLayers: kept, keepLayer },
    });
    return finish(layers);
  });

  function finish(layers: readonly KeptReconstruction[]) {
    return { model: applyReconstruction(student, layers), history: layers.map(({ history }) => history) };
  }
}

function requireTeacher(teacher: ModelSource | undefined): ModelSource {
  if (teacher !== undefined) return teacher;
  throw new KvlrError('invalid-argument', {
    message: 'expected the original model, got none',
    hint: 'Blocks are reconstructed towards the model that the student was compressed from: give it.',
    where: { argument: 'teacher' },
  });
}
