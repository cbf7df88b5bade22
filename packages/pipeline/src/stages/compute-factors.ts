import { type CompressionMethod, compressLayer, readAttentionWeights } from '@kvlr/compression';
import { type CalibrationStatistics, type CompressedLayer, type ModelSource, throwIfAborted } from '@kvlr/core';
import { compressedLayersFromBundle, compressedLayersToBundle } from '../run/compressed-layers-bundle.ts';
import type { RunContext } from '../run/run-context.ts';
import { type ArtefactKey, loadBundle, saveBundle } from '../store/artefact.ts';
import { artefactNames } from '../store/run-store.ts';

export interface FactorsRequest {
  model: ModelSource;
  statistics: CalibrationStatistics;
  groups: readonly number[][][];
  method: CompressionMethod;
  key: ArtefactKey;
}

/** Stage 3: the closed-form factors of every layer, folded into its projections. */
export function computeFactors(context: RunContext, request: FactorsRequest): Promise<CompressedLayer[]> {
  const { model, statistics, groups, method, key } = request;
  return context.stage('factors', `Low-rank factors, folded: ${method.title}`, async () => {
    const kept = await loadBundle(context.store, artefactNames.factors, key);
    if (kept) return { value: compressedLayersFromBundle(kept), skipped: true };
    const layers: CompressedLayer[] = [];
    for (let layer = 0; layer < model.shape.numLayers; layer++) {
      throwIfAborted(context.signal);
      layers.push(
        compressLayer({
          shape: model.shape,
          layer,
          weights: await readAttentionWeights(model, layer),
          statistics: statistics.layers[layer],
          groups: groups[layer]!,
          method,
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
    await saveBundle(context.store, artefactNames.factors, key, compressedLayersToBundle(layers));
    return { value: layers };
  });
}
