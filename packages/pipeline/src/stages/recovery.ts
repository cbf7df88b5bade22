import type { CalibrationText, SplitWindows } from '@kvlr/calibration';
import type { ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import {
  applyDistillation,
  applyReconstruction,
  type DistillationCheckpoint,
  type DistillationPoint,
  type DistillationResult,
  describeCourse,
  distill,
  type LayerHistory,
  type ReconstructedLayer,
  reconstructBlocks,
} from '@kvlr/recovery';
import { resolveDistillation, resolveRecovery } from '../recipe.ts';
import { type ArtefactKey, artefactKey, bundleCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';

export interface RecoveryRequest {
  /** The original model, and the one with closed-form factors. */
  teacher: ModelSource;
  student: ModelSource;
  settings: Recipe['recovery'];
  text: CalibrationText;
  key: ArtefactKey;
}

export interface Recovery extends Distillation {
  history: LayerHistory[];
}

/** Stages 5 and 6: whatever the recipe asks for behind the closed forms, layer by layer and then end to end. */
export async function recoverStudent(context: RunContext, request: RecoveryRequest): Promise<Recovery> {
  const { model, history } = await reconstruct(context, request);
  return { history, ...(await distillStudent(context, { ...request, student: model })) };
}

/** Windows that blocks are reconstructed on, and those that decide when a layer is done; throws 'text-too-short'. */
export function reconstructionWindows(text: CalibrationText, settings: Recipe['recovery']): SplitWindows | undefined {
  const recovery = resolveRecovery(settings);
  if (recovery === undefined) return undefined;
  const { trainingWindows: trainingCount, heldOutWindows: heldOutCount, windowLength: length } = recovery;
  return text.split({ trainingCount, heldOutCount, length, seed: recovery.settings.seed });
}

/** Windows that a distillation trains on, no more than the text has, and held-out ones; throws 'text-too-short'. */
export function distillationWindows(text: CalibrationText, settings: Recipe['recovery']): SplitWindows | undefined {
  const distillation = resolveDistillation(settings);
  if (distillation === undefined) return undefined;
  const { heldOutWindows: heldOutCount, windowLength: length } = distillation;
  const available = Math.floor(text.tokenIds.length / length) - heldOutCount;
  const trainingCount = Math.max(1, Math.min(distillation.trainingWindows, available));
  return text.split({ trainingCount, heldOutCount, length, seed: settings.seed });
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
 * The attention of every layer trained back to the original stream, in order. Each layer is saved when it is done, so that a
 * run that was cut resumes with the next one.
 */
async function reconstruct(
  context: RunContext,
  { teacher, student, settings, text, key }: RecoveryRequest,
): Promise<{ model: ModelSource; history: LayerHistory[] }> {
  const recovery = resolveRecovery(settings);
  if (recovery === undefined) return { model: student, history: [] };
  const { numLayers } = teacher.shape;
  const artefactOf = (layer: number) => {
    const name = `${artefactNames.recovery}layer-${String(layer).padStart(3, '0')}.safetensors`;
    return { name, key, codec: layerCodec };
  };
  return context.stage('recovery', `Block reconstruction (${recovery.preset})`, async (stage) => {
    const kept: ReconstructedLayer[] = [];
    for (let layer = 0; layer < numLayers; layer++) {
      const earlier = await stage.load(artefactOf(layer));
      if (!earlier) break;
      kept.push(earlier.value);
    }
    stage.skipped = kept.length === numLayers;
    if (stage.skipped) return finish(kept);
    if (kept.length > 0) stage.detail = `${kept.length} of ${numLayers} layers from the run directory`;
    const { training, heldOut } = reconstructionWindows(text, settings)!;
    const { layers } = await reconstructBlocks({
      ...stage.control,
      teacher,
      student,
      windows: training,
      heldOutWindows: heldOut,
      preset: recovery.preset,
      settings: recovery.settings,
      completedLayers: kept,
      onLayerDone: (layer) => stage.savePiece(artefactOf(layer.layer), layer),
    });
    return finish(layers);
  });

  function finish(layers: readonly ReconstructedLayer[]) {
    return { model: applyReconstruction(student, layers), history: layers.map(({ history }) => history) };
  }
}

export interface Distillation {
  model: ModelSource;
  /** The course of the held-out losses; the point whose values were taken. Undefined without a distillation. */
  course?: { points: DistillationPoint[]; best: DistillationPoint };
}

type Distilled = Pick<DistillationResult, 'tensors' | 'points' | 'best'>;

const distilledCodec = bundleCodec<Distilled>(
  ({ tensors, points, best }) => ({ metadata: { course: JSON.stringify({ points, best }) }, tensors }),
  ({ metadata, tensors }) => ({ tensors, ...JSON.parse(metadata.course!) }),
);

const checkpointCodec = bundleCodec<DistillationCheckpoint>(
  ({ tensors, ...state }) => ({ metadata: { state: JSON.stringify(state) }, tensors }),
  ({ metadata, tensors }) => ({ ...JSON.parse(metadata.state!), tensors }),
);

/**
 * All attention projections trained together towards the original's logits. A checkpoint is saved at every look at the held-out
 * windows, so that a run that was cut goes on behind it.
 */
async function distillStudent(context: RunContext, request: RecoveryRequest): Promise<Distillation> {
  const { teacher, student, text } = request;
  const resolved = resolveDistillation(request.settings);
  if (resolved === undefined) return { model: student };
  const { preset, settings } = resolved;
  const key = await artefactKey({ student: request.key }, resolved);
  const saved = { name: `${artefactNames.distillation}checkpoint.safetensors`, key, codec: checkpointCodec };
  let resumedAt = 0;
  const stage = {
    stage: 'recovery' as const,
    title: `Distillation (${preset})`,
    name: `${artefactNames.distillation}trained.safetensors`,
    key,
    codec: distilledCodec,
    replaces: saved.name,
    detail: (result: Distilled) => describeDistillation(result, resumedAt),
  };
  const result = await context.cached(stage, async (running) => {
    const checkpoint = (await running.load(saved))?.value;
    resumedAt = checkpoint?.step ?? 0;
    const { training: windows, heldOut: heldOutWindows } = distillationWindows(text, request.settings)!;
    return distill({
      ...running.control,
      ...{ teacher, student, windows, heldOutWindows, checkpoint, preset, settings },
      onCheckpoint: (state) => running.save(saved, state),
    });
  });
  const { points, best } = result;
  return { model: applyDistillation(student, result), course: { points, best } };
}

function describeDistillation({ points, best }: Distilled, resumedAt: number): string {
  const tokens = points.at(-1)!.tokens.toLocaleString('en-US');
  const { what, before, after } = describeCourse(points[0]!, best);
  return `${tokens} tokens, held-out ${what} ${before} -> ${after}${resumedAt > 0 ? `; went on after step ${resumedAt}` : ''}`;
}
