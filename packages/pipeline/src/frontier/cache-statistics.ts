import { type RowSamples, sideStatistics } from '@kvlr/cache';
import { CalibrationText, type TextDocument } from '@kvlr/calibration';
import { readAttentionWeights } from '@kvlr/compression';
import type { CacheSide, Checkpoint, LayerStatistics, ModelSource, RunControl, SideStatistics } from '@kvlr/core';
import type { CacheStatistics } from '@kvlr/runtime';
import { ModelRunner, type RunnerRequest } from '../models/runner.ts';
import { fitWindows, parseRecipe } from '../recipe.ts';
import { type ModelStatistics, requireModel, sampleWindows } from '../stages/statistics.ts';
import type { NamedCache } from './caches.ts';

/** Second moments of a layer over the calibration text. */
export type LayerStatisticsOf = (layer: number) => Promise<LayerStatistics>;

/** Whether a cache's codecs are fitted to a model. */
export const needsStatistics = ({ cache }: Pick<NamedCache, 'cache'>): boolean =>
  cache.codec.keys.needsStatistics || cache.codec.values.needsStatistics;

/** What codecs that adapt to a layer are told, from the statistics and output projections of these heads. */
export async function readerKnowledge(
  model: ModelSource,
  statistics: LayerStatisticsOf,
  samples: readonly RowSamples[],
): Promise<(cache: NamedCache) => Record<CacheSide, SideStatistics>[]> {
  const { shape } = model;
  const layers: Record<'projected' | 'rotated' | 'values', SideStatistics>[] = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    const weights = await readAttentionWeights(model, layer);
    const request = { shape, layer, weights, statistics: await statistics(layer) };
    layers.push({
      projected: sideStatistics({ ...request, side: 'keys', keys: 'projected' }),
      rotated: { ...sideStatistics({ ...request, side: 'keys', keys: 'rotated' }), samples: samples[layer]?.keys },
      values: { ...sideStatistics({ ...request, side: 'values', keys: 'rotated' }), samples: samples[layer]?.values },
    });
  }
  return ({ cache: { codec } }) => layers.map(({ values, ...keys }) => ({ keys: keys[codec.keys.keys], values }));
}

export interface CacheStatisticsRequest extends RunControl {
  model: Checkpoint;
  /** For messages. */
  modelName: string;
  cache: NamedCache;
  /** Statistics that were gathered before, and the name of where they lie; else they are gathered on the texts. */
  kept?: { statistics: ModelStatistics; name: string } | undefined;
  texts: () => Promise<readonly TextDocument[]>;
  runtime?: RunnerRequest | undefined;
}

/** Windows of calibration text that a cache alone is fitted to, at most. */
const fittedWindows = 16;

/** What a cache is fitted to; undefined where its codecs need to know nothing of the model. Throws 'run-mismatch' for kept statistics of another one. */
export async function cacheStatistics(request: CacheStatisticsRequest): Promise<CacheStatistics | undefined> {
  const { model, modelName, cache, kept } = request;
  if (!needsStatistics(cache)) return undefined;
  if (kept !== undefined) {
    requireModel(kept.statistics, { id: model.id, name: modelName }, kept.name);
    return (await readerKnowledge(model, (layer) => kept.statistics.layer(layer), []))(cache);
  }
  return (await gatherForCaches(request))(cache).statistics;
}

/** What a cache is fitted to, and the SHA-256 of the texts that it was gathered on. */
export interface FittedStatistics {
  statistics: CacheStatistics;
  textHash: string;
}

/** Gathers what caches are fitted to on calibration text, once for all caches of a model. */
export async function gatherForCaches(
  request: Omit<CacheStatisticsRequest, 'cache' | 'kept' | 'modelName'>,
): Promise<(cache: NamedCache) => FittedStatistics> {
  const { model, onEvent, signal } = request;
  const { calibration } = fitWindows({ calibration: parseRecipe({}).calibration }, model.shape);
  const text = new CalibrationText(await request.texts(), await model.tokenizer());
  const runner = await ModelRunner.create(request.runtime ?? {}, onEvent);
  const layers: LayerStatistics[] = [];
  const textHash = await text.hash();
  await runner.gatherStatistics(model, {
    windows: sampleWindows(text, calibration, fittedWindows),
    provenance: { modelId: model.id, textHash, seed: calibration.seed },
    keep: async (layer) => void layers.push(layer),
    ...{ onEvent, signal },
  });
  const knowledge = await readerKnowledge(model, async (layer) => layers[layer]!, []);
  return (cache) => ({ statistics: knowledge(cache), textHash });
}
