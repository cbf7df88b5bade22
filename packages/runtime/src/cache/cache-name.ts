import { parseCacheName } from '@kvlr/cache';
import { adaptedDtypes, type CacheDtype, cacheDtypes, KvlrError } from '@kvlr/core';
import { type CacheSettings, type CacheStatistics, resolveCacheSettings } from './cache-settings.ts';

/**
 * Settings of a cache from its name, as `parseCacheName` of @kvlr/cache reads it: a dtype, and behind '+' the exact tokens,
 * `channel-3+window=32+first=4`.
 *
 * @param statistics What the 'klt' dtypes are fitted to.
 * @throws KvlrError 'usage' for a name that cannot be read, 'unsupported-feature' for codecs and policies, which go through the
 *   setting `coded`, 'invalid-argument' for exact tokens of a dtype that has none.
 */
export function cacheSettingsOf(name: string, statistics?: CacheStatistics | undefined): CacheSettings {
  const { keys, values, window, first, policy } = parseCacheName(name);
  const dtype = known.find((each) => each === keys);
  if (dtype === undefined || values !== keys || policy !== undefined) throw refused(name);
  const isFitted = adaptedDtypes.some((each) => each === dtype);
  const settings = {
    dtype,
    ...(isFitted && { statistics }),
    ...(window > 0 && { exactWindow: window }),
    ...(first > 0 && { exactFirst: first }),
  };
  resolveCacheSettings(settings);
  return settings;
}

const known: readonly CacheDtype[] = [...cacheDtypes, ...adaptedDtypes];

function refused(name: string): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `expected a cache that texts are generated with, one of ${known.join(', ')} for keys and values alike and no policy, got ${name}.`,
    hint: 'Take one of these, or pass the codec and the policy themselves as the setting coded, on wasm and cpu.',
    data: { cache: name, known },
  });
}
