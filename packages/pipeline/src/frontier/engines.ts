import { type CacheName, formatCacheName } from '@kvlr/cache';
import type { DecoderShape } from '@kvlr/core';

/** What an engine's own cache can be. */
export interface CacheEngine {
  title: string;
  /** Codecs that it has, the finest first, by kvlr's names. */
  codecs: readonly string[];
  /** Whether keys and values may have different codecs. */
  mixesSides: boolean;
  /** Codecs of which some tokens may stay exact while others are coded. */
  exactTokens: readonly string[];
  /** What to tell the engine for this cache; undefined where that is its default. */
  flags(cache: CacheName): string | undefined;
}

const ggml = ['f16', 'q8_0', 'q5_1', 'q5_0', 'q4_1', 'iq4_nl', 'q4_0'];

/** Engines that load what kvlr writes, and what their caches can be. */
export const cacheEngines = {
  'llama.cpp': {
    title: 'llama.cpp',
    codecs: ggml,
    mixesSides: true,
    exactTokens: [],
    // Values of fewer bits need flash attention there.
    flags: ({ keys, values }) =>
      keys === 'f16' && values === 'f16'
        ? undefined
        : `-ctk ${keys} -ctv ${values}${values === 'f16' ? '' : ' -fa on'}`,
  },
  vllm: {
    title: 'vLLM',
    codecs: ['f16', 'fp8'],
    mixesSides: false,
    exactTokens: [],
    flags: ({ keys }) => (keys === 'fp8' ? '--kv-cache-dtype fp8' : undefined),
  },
  transformers: halves('transformers', 'dtype=torch.float16'),
  'transformers.js': halves('transformers.js', "dtype: 'fp16'"),
  onnx: halves('ONNX Runtime', undefined),
  kvlr: {
    title: 'kvlr',
    codecs: ['f16', 'int8', 'fp8', 'channel-4', 'klt-4', 'int4', 'channel-3', 'klt-3', 'channel-2', 'klt-2', 'klt-1.5'],
    mixesSides: false,
    exactTokens: ['channel-4', 'channel-3', 'klt-3', 'channel-2', 'klt-2', 'klt-1.5'],
    flags: (cache) => `--cache ${formatCacheName(cache)}`,
  },
} satisfies Record<string, CacheEngine>;

export type CacheEngineName = keyof typeof cacheEngines;

/** An engine whose cache holds halves and nothing less, as far as kvlr knows it. */
function halves(title: string, flag: string | undefined): CacheEngine {
  return { title, codecs: ['f16'], mixesSides: false, exactTokens: [], flags: () => flag };
}

/** What an engine's caches are called where keys and values are alike: every codec, and those with 32 newest and 4 first tokens exact. */
export function cachesOf({ codecs, exactTokens }: CacheEngine): string[] {
  return [...codecs, ...exactTokens.map((codec) => `${codec}+window=32+first=4`)];
}

/** Whether an engine has such a cache. */
export function hasCache(engine: CacheEngine, cache: CacheName): boolean {
  const { keys, values, window, first, policy } = cache;
  if (!engine.codecs.includes(keys) || !engine.codecs.includes(values) || policy !== undefined) return false;
  return (engine.mixesSides || keys === values) && (window + first === 0 || engine.exactTokens.includes(keys));
}

/** Names of the engines that have such a cache, of ordinary grouped-query attention. */
export function enginesWith(cache: CacheName, { layers }: Pick<DecoderShape, 'layers'>): CacheEngineName[] {
  const stock = layers.every(({ cache: layout }) => layout.keys === 'stock' && layout.keySlots === layout.valueSlots);
  return (Object.keys(cacheEngines) as CacheEngineName[]).filter(
    (name) => (stock || name === 'kvlr') && hasCache(cacheEngines[name], cache),
  );
}
