import { adaptedDtypes, type CacheDtype, cacheDtypes, hasBlocks } from '@kvlr/core';
import { type CacheSettings, type CacheStatistics, cacheSettingsOf } from '@kvlr/runtime';
import type { NamedCache } from './caches.ts';

const dtypes: readonly CacheDtype[] = [...cacheDtypes, ...adaptedDtypes];

/**
 * Settings of a cache that texts are generated behind: a dtype where kernels have it, else any codec and policy, which the host decodes.
 *
 * @param statistics What its codecs are fitted to: see `cacheStatistics`.
 */
export function generatedCache(
  { name, parts, cache: coded }: NamedCache,
  statistics?: CacheStatistics | undefined,
): CacheSettings {
  const dtype = dtypes.find((known) => known === parts.keys && known === parts.values);
  const exact = parts.window + parts.first;
  const hasKernels = dtype !== undefined && parts.policy === undefined && (exact === 0 || hasBlocks(dtype));
  return hasKernels ? cacheSettingsOf(name, statistics) : { coded, ...(statistics && { statistics }) };
}
