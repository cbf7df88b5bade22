import { type CalibrationText, statisticsFromBundle, statisticsToBundle } from '@kvlr/calibration';
import { KvlrError, type LayerStatistics, type ModelSource, type StatisticsProvenance } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import type { ModelRunner } from '../models/runner.ts';
import { type ArtefactKey, bundleCodec, type Codec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';

/** The original model, and the calibration text that it is run on. */
export interface OriginalOnText {
  model: ModelSource;
  runner: ModelRunner;
  text: CalibrationText;
  calibration: Recipe['calibration'];
}

/** Second moments of a model's layers over calibration text, each read when it is asked for. */
export interface ModelStatistics {
  provenance: StatisticsProvenance;
  layer(layer: number): Promise<LayerStatistics>;
}

/** Throws 'run-mismatch' where statistics are of another model than this one. */
export function requireModel(
  { provenance }: Pick<ModelStatistics, 'provenance'>,
  model: Pick<ModelSource, 'id'> & { name: string },
  name: string,
): void {
  if (provenance.modelId === model.id) return;
  throw new KvlrError('run-mismatch', {
    message: `expected statistics of the same model as ${model.name}, got those of another in ${name}`,
    hint: 'Use only statistics of the same checkpoint together.',
    where: { file: name },
    data: { expected: model.id, received: provenance.modelId },
  });
}

/** Stage 1: second moments of every layer over the calibration text, gathered and kept layer by layer. */
export async function gatherStatistics(
  context: RunContext,
  { model, runner, text, calibration, textHash, key }: OriginalOnText & { textHash: string; key: ArtefactKey },
): Promise<ModelStatistics> {
  const { windows: count, windowLength, seed } = calibration;
  const provenance = { modelId: model.id, textHash, seed, tokenCount: count * windowLength, windowLength };
  const stage = {
    stage: 'statistics' as const,
    title: 'Second moments over the calibration text',
    name: artefactNames.statistics,
    numLayers: model.shape.numLayers,
    key,
    codec: layerStatisticsCodec(provenance),
    detail: () => `${provenance.tokenCount.toLocaleString('en-US')} tokens in ${count} windows`,
  };
  const layer = await context.cachedLayers(stage, ({ control }, from, keep) =>
    runner.gatherStatistics(model, { ...control, windows: sampleWindows(text, calibration), provenance, from, keep }),
  );
  return { provenance, layer };
}

/** One layer's statistics as an artefact. */
export function layerStatisticsCodec(provenance: StatisticsProvenance): Codec<LayerStatistics> {
  return bundleCodec<LayerStatistics>(
    (layer) => statisticsToBundle({ provenance, layers: [layer] }),
    (bundle) => statisticsFromBundle(bundle).layers[0]!,
  );
}

/** The windows that statistics are gathered on, or the first of them. */
export function sampleWindows(
  text: CalibrationText,
  { windows, windowLength: length, seed }: Recipe['calibration'],
  most = windows,
) {
  return text.sample({ count: Math.min(most, windows), length, seed });
}
