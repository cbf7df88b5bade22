import type { CacheDtype, Checkpoint } from '@kvlr/core';
import type { TaskCache } from '@kvlr/pipeline';
import { loadCache } from '@kvlr/pipeline/node';
import type { OpenedModel } from '../inputs/models.ts';
import type { ComputeOptions } from '../options/options.ts';

/** The options of `kvlr eval` by which a cache is kept in other ways. */
export interface CacheOptions extends ComputeOptions {
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
 * with each cache that was asked for.
 */
export async function conditionsOf(
  models: readonly OpenedModel[],
  base: OpenedModel | undefined,
  options: CacheOptions,
): Promise<Condition[]> {
  const { cacheDtype: dtypes = [], cacheWindow: window, cacheSinks: sinks, cache: names = [] } = options;
  const caches: TaskCache[] = [...new Set(dtypes)].map((dtype) => ({ dtype }));
  if (window !== undefined) caches.push({ window, ...(sinks !== undefined && { sinks }) });
  for (const name of names) caches.push({ named: await loadCache(name) });
  const whole = [...(base ? [base] : []), ...models].map((model) => conditionOf(model, {}));
  const changed = models.flatMap((model) =>
    caches.filter(({ dtype }) => dtype !== 'f32').map((cache) => conditionOf(model, cache)),
  );
  return [...whole, ...changed];
}

function conditionOf({ name, checkpoint }: OpenedModel, cache: TaskCache): Condition {
  const { dtype = 'f32', window, named } = cache;
  const parts = [dtype === 'f32' ? '' : dtype, window === undefined ? '' : `last ${window}`, named?.name ?? ''].filter(
    (part) => part !== '',
  );
  return { name: parts.length === 0 ? name : `${name} (${parts.join(', ')})`, checkpoint, cache };
}
