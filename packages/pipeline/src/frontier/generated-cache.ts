import { blockBits, cacheDtypes } from '@kvlr/core';
import { type CacheSettings, cacheSettingsOf } from '@kvlr/runtime';
import type { NamedCache } from './caches.ts';

/** Settings of a cache that texts are generated behind: a dtype where kernels have it, else any codec and policy, which the host decodes. */
export function generatedCache({ name, parts, cache: coded }: NamedCache): CacheSettings {
  const dtype = cacheDtypes.find((known) => known === parts.keys && known === parts.values);
  const exact = parts.window + parts.first;
  const hasKernels =
    dtype !== undefined && parts.policy === undefined && (exact === 0 || blockBits(dtype) !== undefined);
  return hasKernels ? cacheSettingsOf(name) : { coded };
}
