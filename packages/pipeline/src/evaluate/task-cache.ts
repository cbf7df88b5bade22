import { codedCacheBytes, codedCacheSize, type DecoderShape } from '@kvlr/core';
import type { CacheSettings } from '@kvlr/runtime';
import type { FittedStatistics } from '../frontier/cache-statistics.ts';
import type { NamedCache } from '../frontier/caches.ts';

/** How the cache is kept while a model is asked. */
export interface TaskCache extends Pick<CacheSettings, 'dtype' | 'window' | 'sinks'> {
  /** Any codec and policy, in place of the others. */
  named?: NamedCache | undefined;
  /** What its codecs are fitted to, where they are. */
  fitted?: FittedStatistics | undefined;
}

/** Exact bytes of the cache of one sequence of so many tokens. */
export function taskCacheBytes(shape: DecoderShape, cache: TaskCache, tokens: number): number {
  const { dtype = 'f32', window, sinks = 4, named } = cache;
  if (named !== undefined) return codedCacheBytes(shape, named.cache, tokens);
  const kept = window === undefined ? tokens : Math.min(tokens, window + sinks);
  return kept * codedCacheSize(shape, dtype).bytesPerToken;
}

/** What results say of a cache. */
export function describeTaskCache({ named, fitted, ...settings }: TaskCache): Record<string, unknown> {
  return {
    ...settings,
    ...(named && { name: named.name, ...(named.hash !== undefined && { modules: named.hash }) }),
    ...(fitted && { fittedTo: fitted.textHash }),
  };
}
