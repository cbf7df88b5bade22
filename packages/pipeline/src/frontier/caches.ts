import { type CacheName, codecRegistry, formatCacheName, parseCacheName, policyRegistry } from '@kvlr/cache';
import type { CacheCodec, CachePolicy, CodedCache, ModuleLoader, StandardSchema } from '@kvlr/core';
import { cacheCodecSchema, cachePolicySchema } from '@kvlr/core/schemas';

/** The cache codecs that can be asked for by name or path. */
export const cacheCodecs = codecRegistry(cacheCodecSchema as unknown as StandardSchema<CacheCodec>);

/** The policies that can be asked for by name or path. */
export const cachePolicies = policyRegistry(cachePolicySchema as unknown as StandardSchema<CachePolicy>);

/** A cache that a model is measured with. */
export interface NamedCache {
  /** As `parseCacheName` reads it, and `formatCacheName` writes it. */
  name: string;
  parts: CacheName;
  cache: CodedCache;
  /** Hash of the modules that its codecs come from; undefined where all are built in. */
  hash?: string | undefined;
}

/**
 * The cache that a text names: `channel-2+window=32+first=4`, `q8_0:q5_1`, `./mine.mjs`, `f16+policy=snapkv+keep=25%`.
 *
 * @param load Imports modules; without it only names are known.
 * @throws KvlrError 'usage' for what cannot be read and for unknown names; 'plugin-invalid' for modules of another form.
 */
export async function resolveCache(text: string, load?: ModuleLoader): Promise<NamedCache> {
  const parts = parseCacheName(text);
  const keys = await cacheCodecs.resolve(parts.keys, load);
  const values = await cacheCodecs.resolve(parts.values, load);
  const policy = parts.policy === undefined ? undefined : await cachePolicies.resolve(parts.policy, load);
  const hashes = [keys.hash, values.hash, policy?.hash].filter((hash) => hash !== undefined);
  const codec: CacheCodec = {
    title: parts.keys === parts.values ? keys.value.title : `keys: ${keys.value.title}; values: ${values.value.title}`,
    source: keys.value.source,
    keys: keys.value.keys,
    values: values.value.values,
  };
  return {
    name: formatCacheName(parts),
    parts,
    cache: {
      ...{ codec, window: parts.window, first: parts.first },
      ...(policy && { policy: { policy: policy.value, keep: parts.keep! } }),
    },
    ...(hashes.length > 0 && { hash: hashes.join(' ') }),
  };
}

/** The caches of a comparison at equal bytes, where no others are named: the best of each kind, and what other engines have. */
export const comparedCaches = [
  'f16',
  'q8_0',
  'q5_1',
  'q8_0:q4_0',
  'q4_0',
  'iq4_nl',
  'fp8',
  'int8',
  'int4',
  'turboquant-4',
  'kivi-2',
  'squat-2',
  'decoquant-4',
  'lexico-4',
  'channel-4',
  'channel-3',
  'channel-2',
  'channel-2+window=32+first=4',
  'klt-4',
  'klt-3',
  'klt-2',
  'klt-1.5',
  'klt-2+window=32+first=4',
  'klt-1.5+window=32+first=4',
  'f16+policy=sinks+keep=25%',
  'f16+policy=snapkv+keep=25%',
  'f16+policy=kvmerger+keep=25%',
  'f16+policy=razor+keep=25%',
  'f16+policy=uncomp+keep=25%',
];
