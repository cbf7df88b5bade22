import type { CacheSize } from '@kvlr/core';

/** Bytes of KV cache that one sequence takes at a context length. */
export interface CacheBytes {
  context: number;
  bytes: number;
}

/** Exact bytes of KV cache of one sequence at each context length (in tokens). */
export function cacheBytesByContext(cache: CacheSize, contexts: readonly number[]): CacheBytes[] {
  return contexts.map((context) => ({ context, bytes: cache.bytesPerToken * context }));
}
