import { codedCacheBytes, codedCacheSize, type DecoderShape, hostCacheBytes } from '@kvlr/core';
import { formatBytes, formatCount } from '@kvlr/report';
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

/** Notes on caches by name that count what is on a device, and leave values in host memory besides. */
export function hostMemoryNotes(
  shape: DecoderShape,
  caches: readonly { name: string; cache: TaskCache }[],
  tokens: number,
): string[] {
  return caches.flatMap(({ name, cache: { named } }) => {
    const bytes = named === undefined ? 0 : hostCacheBytes(shape, named.cache, tokens);
    if (bytes === 0) return [];
    const held = `${formatBytes(bytes)} at ${formatCount(tokens)} tokens`;
    return [
      `${name}: bytes are those on the device. ${held} lie in host memory besides, from where values are fetched.`,
    ];
  });
}

/** What results say of a cache. */
export function describeTaskCache({ named, fitted, ...settings }: TaskCache): Record<string, unknown> {
  return {
    ...settings,
    ...(named && { name: named.name, ...(named.hash !== undefined && { modules: named.hash }) }),
    ...(fitted && { fittedTo: fitted.textHash }),
  };
}
