import { splitWindows } from '@kvlr/calibration';
import type { ModelSource, TensorBundle } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import {
  applyDistillation,
  type DistillationCheckpoint,
  type DistillationPoint,
  type DistillationResult,
  distill,
} from '@kvlr/recovery';
import { type ResolvedDistillation, resolveDistillation } from '../recipe/resolve-distillation.ts';
import type { RunContext } from '../run/run-context.ts';
import { sayWhichText } from '../run/say-which-text.ts';
import { type ArtefactKey, artefactKey, loadBundle, saveBundle } from '../store/artefact.ts';
import { addEfforts } from '../store/effort.ts';
import { artefactNames } from '../store/run-store.ts';

export interface DistillRequest {
  /** The original model, and the compressed one. */
  teacher: ModelSource;
  student: ModelSource;
  settings: Recipe['recovery'];
  /** Tokens of the calibration text. */
  tokenIds: () => Promise<Int32Array>;
  /** Key of the student. */
  key: ArtefactKey;
}

export interface Distillation {
  model: ModelSource;
  /** The course of the held-out losses; the point whose values were taken. Undefined without a distillation. */
  course?: { points: DistillationPoint[]; best: DistillationPoint };
}

const resultName = `${artefactNames.distillation}trained.safetensors`;
const checkpointName = `${artefactNames.distillation}checkpoint.safetensors`;

/**
 * The last part of recovery: all attention projections trained together towards the original's logits. A checkpoint is
 * saved at every look at the held-out windows, so that a run that was cut goes on behind it.
 */
export async function distillStudent(context: RunContext, request: DistillRequest): Promise<Distillation> {
  const { teacher, student } = request;
  const resolved = resolveDistillation(request.settings);
  if (resolved === undefined) return { model: student };
  const key = await artefactKey({ student: request.key }, resolved);
  return context.stage('recovery', `Distillation (${resolved.preset})`, async (control, watch) => {
    const kept = await loadBundle(context.store, resultName, key);
    const saved = kept ? undefined : await loadBundle(context.store, checkpointName, key);
    const checkpoint = saved && readCheckpoint(saved.value);
    const takenOver = [kept ?? saved].flatMap((artefact) => (artefact ? [artefact.effort] : []));
    const origin = () => ({ key, effort: addEfforts([...takenOver, watch.total()]) });
    let result: Pick<DistillationResult, 'tensors' | 'points' | 'best'>;
    if (kept) result = { tensors: kept.value.tensors, ...JSON.parse(kept.value.metadata.course!) };
    else {
      const { windows, heldOutWindows } = cutWindows(await request.tokenIds(), resolved, request.settings.seed);
      result = await distill({
        ...control,
        ...{ teacher, student, windows, heldOutWindows, checkpoint },
        preset: resolved.preset,
        settings: resolved.settings,
        onCheckpoint: (state) => saveBundle(context.store, checkpointName, origin(), checkpointBundle(state)),
      });
      const metadata = { course: JSON.stringify({ points: result.points, best: result.best }) };
      await saveBundle(context.store, resultName, origin(), { metadata, tensors: result.tensors });
      await context.store.remove(checkpointName);
    }
    const { points, best } = result;
    const value = { model: applyDistillation(student, result), course: { points, best } };
    return { value, skipped: kept !== undefined, takenOver, detail: describe(value.course, checkpoint) };
  });
}

/** Windows to train on and held-out ones; of the first no more than the text has. */
function cutWindows(tokenIds: Int32Array, resolved: ResolvedDistillation, seed: number) {
  const { heldOutWindows: heldOutCount, windowLength: length } = resolved;
  const available = Math.floor(tokenIds.length / length) - heldOutCount;
  const trainingCount = Math.max(1, Math.min(resolved.trainingWindows, available));
  const split = sayWhichText('calibration', () =>
    splitWindows(tokenIds, { trainingCount, heldOutCount, length, seed }),
  );
  return { windows: split.training, heldOutWindows: split.heldOut };
}

function checkpointBundle({ step, points, tensors }: DistillationCheckpoint): TensorBundle {
  return { metadata: { state: JSON.stringify({ step, points }) }, tensors };
}

function readCheckpoint({ metadata, tensors }: TensorBundle): DistillationCheckpoint {
  return { ...(JSON.parse(metadata.state!) as Omit<DistillationCheckpoint, 'tensors'>), tensors };
}

function describe({ points, best }: NonNullable<Distillation['course']>, from?: DistillationCheckpoint): string {
  const tokens = points.at(-1)!.tokens.toLocaleString('en-US');
  const change = `held-out KL ${points[0]!.heldOutDivergence.toFixed(4)} -> ${best.heldOutDivergence.toFixed(4)}`;
  const resumed = from && from.step > 0 ? `; went on after step ${from.step}` : '';
  return `${tokens} tokens, ${change}${resumed}`;
}
