import type { CacheDtype, Checkpoint } from '@kvlr/core';
import { gatherForCaches, type NamedCache, needsStatistics, type TaskCache } from '@kvlr/pipeline';
import { loadCache } from '@kvlr/pipeline/node';
import type { OpenedModel } from '../inputs/models.ts';
import { loadCalibrationTexts, type TextOptions } from '../inputs/texts.ts';
import { runtimeOf } from '../machine.ts';
import type { ComputeOptions } from '../options/options.ts';
import type { CommandContext } from '../terminal/terminal.ts';

/** The options of `kvlr eval` by which a cache is kept in other ways. */
export interface CacheOptions extends ComputeOptions, TextOptions {
  cacheDtype?: CacheDtype[];
  cacheWindow?: number;
  cacheSinks?: number;
  /** Names of caches, as `kvlr generate --cache` takes them. */
  cache?: string[];
}

/** A model with a way of keeping its cache. */
export interface Condition {
  name: string;
  checkpoint: Checkpoint;
  cache: TaskCache;
}

/**
 * What is set side by side: the base as it is, or without one the model with a float32 cache that keeps everything; then every model
 * with each cache that was asked for. Caches whose codecs are fitted to a model are fitted here, to calibration text.
 */
export async function conditionsOf(
  models: readonly OpenedModel[],
  base: OpenedModel | undefined,
  options: CacheOptions,
  context: CommandContext,
): Promise<Condition[]> {
  const { cacheDtype: dtypes = [], cacheWindow: window, cacheSinks: sinks, cache: names = [] } = options;
  const caches: TaskCache[] = [...new Set(dtypes)].map((dtype) => ({ dtype }));
  if (window !== undefined) caches.push({ window, ...(sinks !== undefined && { sinks }) });
  for (const name of names) caches.push({ named: await loadCache(name) });
  const whole = [...(base ? [base] : []), ...models].map((model) => conditionOf(model, {}));
  const changed: Condition[] = [];
  for (const model of models) {
    const fit = fitterOf(model, options, context);
    for (const cache of caches) {
      if (cache.dtype === 'f32') continue;
      changed.push(conditionOf(model, cache.named ? await fit(cache.named) : cache));
    }
  }
  return [...whole, ...changed];
}

/** Fits caches that have to know a model; what they have to know is gathered when the first of them comes. */
function fitterOf({ checkpoint }: OpenedModel, options: CacheOptions, { onEvent, signal }: CommandContext) {
  let gathered: ReturnType<typeof gatherForCaches> | undefined;
  return async (cache: NamedCache): Promise<TaskCache> => {
    if (!needsStatistics(cache)) return { named: cache };
    gathered ??= gatherForCaches({
      ...{ model: checkpoint, texts: () => loadCalibrationTexts(options), runtime: runtimeOf(options) },
      ...{ onEvent, signal },
    });
    return { named: cache, fitted: (await gathered)(cache) };
  };
}

function conditionOf({ name, checkpoint }: OpenedModel, cache: TaskCache): Condition {
  const { dtype = 'f32', window, named } = cache;
  const parts = [dtype === 'f32' ? '' : dtype, window === undefined ? '' : `last ${window}`, named?.name ?? ''].filter(
    (part) => part !== '',
  );
  return { name: parts.length === 0 ? name : `${name} (${parts.join(', ')})`, checkpoint, cache };
}
