import { CalibrationText, mergeLayers, statisticsFromBundle, type TextDocument } from '@kvlr/calibration';
import {
  type Checkpoint,
  KvlrError,
  type LayerStatistics,
  type PartOfWindows,
  type StatisticsProvenance,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import type { RunSettings } from './compress.ts';
import { ModelRunner } from './models/runner.ts';
import { windowsOfPart } from './part-of-windows.ts';
import { fitWindows } from './recipe.ts';
import { artefactKey, jsonCodec, readBundle } from './run/artefact.ts';
import { layerArtefactName, RunContext } from './run/context.ts';
import { MemoryRunStore, type RunStore } from './run/store.ts';
import { layerStatisticsCodec, type ModelStatistics, requireModel, sampleWindows } from './stages/statistics.ts';

export interface CalibrationRunRequest
  extends Pick<RunSettings, 'store' | 'runtime' | 'onEvent' | 'signal' | 'checkSource'> {
  model: Checkpoint;
  texts: readonly TextDocument[];
  calibration: Recipe['calibration'];
  /** Default: all windows. */
  part?: PartOfWindows | undefined;
}

/** Written when all layers are there. */
const indexName = 'statistics.json';

/**
 * Second moments of a model over calibration text, or over a part of its windows, layer by layer into a store. What `kvlr calibrate`
 * does. Parts that were gathered apart, on as many machines, are merged by `mergeStatisticsStores`.
 *
 * @throws KvlrError 'invalid-argument' for a part without windows, 'text-too-short', 'aborted'.
 */
export async function calibrate(request: CalibrationRunRequest): Promise<StatisticsProvenance> {
  const { model, part } = request;
  const store = request.store ?? new MemoryRunStore();
  const context = new RunContext(store, request, false);
  const { calibration } = fitWindows({ calibration: request.calibration }, model.shape);
  const text = new CalibrationText(request.texts, await model.tokenizer());
  const windows = windowsOfPart(sampleWindows(text, calibration), part);
  const { windowLength, seed } = calibration;
  const textHash = await text.hash();
  const provenance = { modelId: model.id, textHash, seed, tokenCount: windows.length * windowLength, windowLength };
  const runner = await ModelRunner.create(request.runtime ?? {}, context.onEvent);
  const stage = {
    stage: 'statistics' as const,
    title: `Second moments over ${windows.length} of ${calibration.windows} windows of ${windowLength} tokens`,
    name: '',
    numLayers: model.shape.numLayers,
    key: await artefactKey({ modelId: model.id, textHash }, { calibration, ...(part && { part }) }),
    codec: layerStatisticsCodec(provenance),
  };
  await context.cachedLayers(stage, ({ control }, from, keep) =>
    runner.gatherStatistics(model, { ...control, windows, provenance, from, keep }),
  );
  await writeIndex(store, { provenance, numLayers: model.shape.numLayers });
  return provenance;
}

/**
 * Merges statistics of one model that were gathered apart: averages, weighted by tokens, as one run over all windows would give them
 * but for the rounding of Float64. Memory holds one layer of two of them at a time. What `kvlr merge` does.
 *
 * @throws KvlrError 'file-missing' (a store without complete statistics), 'run-mismatch' (of different models).
 */
export async function mergeStatisticsStores(
  parts: readonly { name: string; store: RunStore }[],
  output: RunStore,
): Promise<StatisticsProvenance> {
  const opened: { name: string; statistics: KeptStatistics }[] = [];
  for (const { name, store } of parts) opened.push({ name, statistics: await readStatistics(store, name) });
  const [first] = opened;
  if (first === undefined)
    throw new KvlrError('invalid-argument', { message: 'expected statistics to merge, got none' });
  const { modelId } = first.statistics.provenance;
  for (const { name, statistics } of opened) requireModel(statistics, { id: modelId, name: first.name }, name);
  const { numLayers } = first.statistics;
  const runs = opened.flatMap(({ statistics: { provenance } }) => provenance.runs ?? [provenance]);
  const tokenCount = runs.reduce((sum, run) => sum + run.tokenCount, 0);
  const provenance: StatisticsProvenance = { ...runs[0]!, tokenCount, ...(runs.length > 1 && { runs }) };
  const key = await artefactKey({ modelId }, { merged: runs });
  const codec = layerStatisticsCodec(provenance);
  for (let layer = 0; layer < numLayers; layer++) {
    let merged: LayerStatistics | undefined;
    for (const { statistics } of opened) {
      const next = await statistics.layer(layer);
      merged = merged ? mergeLayers([merged, next]) : next;
    }
    await output.write(layerArtefactName('', layer), await codec.encode(merged!, { key, effort: undefined }));
  }
  await writeIndex(output, { provenance, numLayers });
  return provenance;
}

/** Statistics that lie in a store. */
export interface KeptStatistics extends ModelStatistics {
  numLayers: number;
}

/**
 * Opens statistics that `calibrate` or `mergeStatisticsStores` left in a store.
 *
 * @param name Of the store, for messages.
 * @throws KvlrError 'file-missing' where they are not complete; reading a layer, 'file-malformed' where it was damaged.
 */
export async function readStatistics(store: RunStore, name: string): Promise<KeptStatistics> {
  const bytes = await store.read(indexName);
  const index = bytes && (await indexCodec.decode(bytes, indexKey))?.value;
  if (index === undefined) {
    throw new KvlrError('file-missing', {
      message: `expected complete statistics in ${name}, found no whole ${indexName}`,
      hint: 'Let the calibration of this part end first: the same command goes on where it was cut.',
      where: { file: name },
    });
  }
  return {
    ...index,
    async layer(layer) {
      const file = layerArtefactName('', layer);
      const kept = await store.read(file);
      const found = kept && statisticsFromBundle(await readBundle(kept, `${name}/${file}`)).layers[0];
      if (found?.layer === layer) return found;
      throw new KvlrError('file-missing', {
        message: `expected statistics of layer ${layer} in ${name}, found none`,
        hint: 'Gather them again.',
        where: { file, layer },
      });
    },
  };
}

type StatisticsIndex = Pick<KeptStatistics, 'provenance' | 'numLayers'>;

/** Says what statistics a store holds; made of nothing but itself. */
const indexCodec = jsonCodec<StatisticsIndex>();
const indexKey = { inputs: 'kvlr-statistics', recipe: '' };

async function writeIndex(store: RunStore, index: StatisticsIndex): Promise<void> {
  await store.write(indexName, await indexCodec.encode(index, { key: indexKey, effort: undefined }));
}
