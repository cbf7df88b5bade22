import type { CalibrationText } from '@kvlr/calibration';
import { KvlrError, type ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import {
  type Adapter,
  applyDistillation,
  type DistillationCheckpoint,
  type DistillationPoint,
  type DistillationRequest,
  type DistillationResult,
  describeCourse,
  distill,
  encodePeftAdapter,
  type NativeTraining,
  needsTeacher,
  type TeacherStore,
  type TopTokens,
  type TrainingWindow,
} from '@kvlr/recovery';
import type { BackendName } from '@kvlr/runtime';
import { describeTraining } from '../models/training-estimate.ts';
import { type ResolvedDistillation, resolveDistillation } from '../recipe.ts';
import { type ArtefactKey, artefactKey, bundleCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';

/** Windows that training end to end is given: some to learn from, some that decide which values are taken. */
export interface TrainingWindows {
  training: TrainingWindow[];
  heldOut: TrainingWindow[];
}

export interface DistillationStageRequest {
  /** The original model; absent where the text's own next tokens are all that is learnt. */
  teacher?: ModelSource | undefined;
  student: ModelSource;
  settings: Recipe['recovery'];
  text: CalibrationText;
  /** Take the place of windows of the text. */
  windows?: TrainingWindows | undefined;
  key: ArtefactKey;
  /** What computes, for the estimate that is told before training starts. */
  backend?: BackendName | undefined;
  /** Runs the layers in the place of the backend, where whole projections are trained. */
  native?: NativeTraining | undefined;
}

/** Windows that a distillation trains on, no more than the text has, and held-out ones; throws 'text-too-short'. */
export function distillationWindows(
  text: CalibrationText,
  settings: Recipe['recovery'],
): { training: Int32Array[]; heldOut: Int32Array[] } | undefined {
  const distillation = resolveDistillation(settings);
  if (distillation === undefined) return undefined;
  const { heldOutWindows: heldOutCount, windowLength: length } = distillation;
  const available = Math.floor(text.tokenIds.length / length) - heldOutCount;
  const trainingCount = Math.max(1, Math.min(distillation.trainingWindows, available));
  return text.split({ trainingCount, heldOutCount, length, seed: settings.seed });
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

/** Token ids below 2^24 are float32 numbers. */
const topTokensCodec = bundleCodec<TopTokens>(
  ({ ids, logProbabilities }) => ({
    metadata: {},
    tensors: new Map([
      ['ids', { shape: [ids.length], data: Float32Array.from(ids) }],
      ['logProbabilities', { shape: [ids.length], data: logProbabilities }],
    ]),
  }),
  ({ tensors }) => ({
    ids: Int32Array.from(tensors.get('ids')!.data),
    logProbabilities: Float32Array.from(tensors.get('logProbabilities')!.data),
  }),
);

/**
 * All layers trained together towards the original's logits, the text's next tokens or both. A checkpoint is saved every few steps, so
 * that a run that was cut goes on behind it. Adapters are kept beside it in the files of peft.
 */
export async function distillStudent(context: RunContext, request: DistillationStageRequest): Promise<Distillation> {
  const { student, text } = request;
  const resolved = resolveDistillation(request.settings);
  if (resolved === undefined) return { model: student };
  const { preset, settings } = resolved;
  const teacher = needsTeacher(settings) ? request.teacher : undefined;
  const key = await artefactKey({ student: request.key }, resolved);
  const saved = { name: `${artefactNames.distillation}checkpoint.safetensors`, key, codec: checkpointCodec };
  let resumedAt = 0;
  const stage = {
    stage: 'recovery' as const,
    title: `${teacher ? 'Distillation' : 'Training on next tokens'} (${preset})`,
    name: `${artefactNames.distillation}trained.safetensors`,
    key,
    codec: distilledCodec,
    replaces: saved.name,
    detail: (result: Distilled) => describeDistillation(result, resumedAt),
  };
  const result = await context.cached(stage, async (running) => {
    const checkpoint = (await running.load(saved))?.value;
    resumedAt = checkpoint?.step ?? 0;
    const { training, heldOut } = request.windows ?? distillationWindows(text, request.settings)!;
    tellEstimate(context, request, resolved, resumedAt);
    const distillation: DistillationRequest = {
      ...running.control,
      ...{ student, windows: training, heldOutWindows: heldOut, preset, settings },
      ...(teacher && { teacher }),
      native: request.native,
      ...(checkpoint && { checkpoint }),
      teacherStore: teacherStore(context, key),
      onCheckpoint: (state) => running.save(saved, state),
    };
    const { adapter, ...distilled } = await distill(distillation);
    if (adapter) await saveAdapter(context, adapter, request);
    return distilled;
  });
  await context.store.remove(teacherFolder);
  const { points, best } = result;
  return { model: applyDistillation(student, result), course: { points, best } };
}

const teacherFolder = `${artefactNames.distillation}teacher/`;

/** What the original says, in the run's store: a run that was cut does not ask it again. */
function teacherStore({ store }: RunContext, key: ArtefactKey): TeacherStore {
  const nameOf = (piece: string) => `${teacherFolder}${piece}.safetensors`;
  return {
    async read(piece) {
      const bytes = await store.read(nameOf(piece));
      return bytes && (await topTokensCodec.decode(bytes, key))?.value;
    },
    async write(piece, tokens) {
      await store.write(nameOf(piece), await topTokensCodec.encode(tokens, { key, effort: undefined }));
    },
  };
}

/** Keeps adapters as peft reads them, where the family's files have a module for each projection. */
async function saveAdapter(
  context: RunContext,
  adapter: Adapter,
  { student }: DistillationStageRequest,
): Promise<void> {
  try {
    for (const [name, bytes] of Object.entries(encodePeftAdapter(adapter, student, student.id))) {
      await context.store.write(`${artefactNames.adapter}${name}`, bytes);
    }
  } catch (error) {
    if (!KvlrError.isInstance(error) || error.code !== 'unsupported-feature') throw error;
    context.onEvent({
      type: 'note',
      message: `No files of peft are written, only the merged result: ${error.message}.`,
    });
  }
}

function tellEstimate(
  context: RunContext,
  { teacher, student, settings, backend, native, windows }: DistillationStageRequest,
  { settings: { steps, adapterRank } }: ResolvedDistillation,
  resumedAt: number,
): void {
  if (backend === undefined) return;
  const windowTokens = windows?.training[0];
  const length = windowTokens && (windowTokens instanceof Int32Array ? windowTokens : windowTokens.tokenIds).length;
  const message = describeTraining({
    ...{ teacher, student, settings, backend, length, steps: steps - resumedAt },
    native: native !== undefined && adapterRank === 0,
  });
  context.onEvent({ type: 'note', message });
}

function describeDistillation({ points, best }: Distilled, resumedAt: number): string {
  const tokens = points.at(-1)!.tokens.toLocaleString('en-US');
  const { what, before, after } = describeCourse(points[0]!, best);
  return `${tokens} tokens, held-out ${what} ${before} -> ${after}${resumedAt > 0 ? `; went on after step ${resumedAt}` : ''}`;
}
