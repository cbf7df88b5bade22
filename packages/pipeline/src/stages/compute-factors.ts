import { type CompressionMethod, compressLayer, readAttentionWeights } from '@kvlr/compression';
import {
  type CalibrationStatistics,
  type CompressedLayer,
  type LayerBudget,
  type ModelSource,
  throwIfAborted,
} from '@kvlr/core';
import type { AttendedGathering } from '../calibration/gather-attended-moments.ts';
import type { RunContext } from '../run/run-context.ts';
import { type ArtefactKey, loadBundle, saveBundle } from '../store/artefact.ts';
import { compressedLayersFromBundle, compressedLayersToBundle } from '../store/bundles/compressed-layers-bundle.ts';
import { artefactNames } from '../store/run-store.ts';

export interface FactorsRequest {
  model: ModelSource;
  statistics: CalibrationStatistics;
  groups: readonly number[][][];
  method: CompressionMethod;
  /** Numbers of keys and values of each layer, where a budget sets them apart. */
  ranks?: readonly LayerBudget[] | undefined;
  /** Asked where the method fits values to what is attended to. */
  attended: AttendedGathering;
  key: ArtefactKey;
}

/** Stage 3: the closed-form factors of every layer, folded into its projections. */
export function computeFactors(context: RunContext, request: FactorsRequest): Promise<CompressedLayer[]> {
  const { model, statistics, groups, method, ranks, key } = request;
  return context.stage('factors', `Low-rank factors, folded: ${method.title}`, async (control, watch) => {
    const kept = await loadBundle(context.store, artefactNames.factors, key);
    if (kept) return { value: compressedLayersFromBundle(kept.value), skipped: true, takenOver: [kept.effort] };
    const attended = method.needsAttendedMoments ? await request.attended(groups, control) : undefined;
    const layers: CompressedLayer[] = [];
    for (let layer = 0; layer < model.shape.numLayers; layer++) {
      throwIfAborted(context.signal);
      layers.push(
        compressLayer({
          shape: model.shape,
          layer,
          weights: await readAttentionWeights(model, layer),
          statistics: statistics.layers[layer],
          attended: attended?.[layer],
          groups: groups[layer]!,
          method,
          ranks: ranks?.[layer],
        }),
      );
      context.onEvent({
        type: 'progress',
        stage: 'factors',
        completed: layer + 1,
        total: model.shape.numLayers,
        unit: 'layers',
      });
    }
    const origin = { key, effort: watch.total() };
    await saveBundle(context.store, artefactNames.factors, origin, compressedLayersToBundle(layers));
    return { value: layers };
  });
}
