import { splitWindows } from '@kvlr/calibration';
import type { ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { applyReconstruction, type LayerHistory, type ReconstructedLayer, reconstructBlocks } from '@kvlr/recovery';
import { resolveRecovery } from '../recipe/resolve-recovery.ts';
import type { RunContext } from '../run/run-context.ts';
import { sayWhichText } from '../run/say-which-text.ts';
import { type ArtefactKey, type Kept, loadBundle, saveBundle } from '../store/artefact.ts';
import {
  reconstructedLayerFromBundle,
  reconstructedLayerToBundle,
} from '../store/bundles/reconstructed-layer-bundle.ts';
import { artefactNames } from '../store/run-store.ts';

export interface ReconstructRequest {
  /** The original model, and the one with closed-form factors. */
  teacher: ModelSource;
  student: ModelSource;
  settings: Recipe['recovery'];
  /** Tokens of the calibration text. */
  tokenIds: () => Promise<Int32Array>;
  key: ArtefactKey;
}

export interface Reconstruction {
  model: ModelSource;
  history: LayerHistory[];
}

/**
 * Stage 5: the attention of every layer trained back to the original stream, in order. Each layer is saved when it is
 * done, so that a run that was cut resumes with the next one.
 */
export async function reconstruct(context: RunContext, request: ReconstructRequest): Promise<Reconstruction> {
  const { teacher, student, key } = request;
  const recovery = resolveRecovery(request.settings);
  if (recovery === undefined) return { model: student, history: [] };
  const { preset, settings } = recovery;
  return context.stage('recovery', `Block reconstruction (${preset})`, async (control, watch) => {
    const { numLayers } = teacher.shape;
    const kept = await loadLayers(context, key, numLayers);
    let layers = kept.map(({ value }) => value);
    if (kept.length < numLayers) {
      const tokenIds = await request.tokenIds();
      const { training, heldOut } = sayWhichText('calibration', () =>
        splitWindows(tokenIds, {
          trainingCount: recovery.trainingWindows,
          heldOutCount: recovery.heldOutWindows,
          length: recovery.windowLength,
          seed: settings.seed,
        }),
      );
      const result = await reconstructBlocks({
        ...control,
        teacher,
        student,
        windows: training,
        heldOutWindows: heldOut,
        preset,
        settings,
        completedLayers: layers,
        onLayerDone: (layer) =>
          saveBundle(
            context.store,
            layerName(layer.layer),
            { key, effort: watch.lap() },
            reconstructedLayerToBundle(layer),
          ),
      });
      layers = result.layers;
    }
    const value = { model: applyReconstruction(student, layers), history: layers.map(({ history }) => history) };
    const skipped = kept.length === numLayers;
    const detail =
      !skipped && kept.length > 0 ? `${kept.length} of ${numLayers} layers from the run directory` : undefined;
    return { value, skipped, takenOver: kept.map(({ effort }) => effort), detail };
  });
}

/** The layers of an earlier run, from the first up to the first that is missing. */
async function loadLayers(
  context: RunContext,
  key: ArtefactKey,
  numLayers: number,
): Promise<Kept<ReconstructedLayer>[]> {
  const layers: Kept<ReconstructedLayer>[] = [];
  for (let layer = 0; layer < numLayers; layer++) {
    const kept = await loadBundle(context.store, layerName(layer), key);
    if (!kept) break;
    layers.push({ ...kept, value: reconstructedLayerFromBundle(kept.value) });
  }
  return layers;
}

function layerName(layer: number): string {
  return `${artefactNames.recovery}layer-${String(layer).padStart(3, '0')}.safetensors`;
}
