import { type CacheDtype, KvlrError } from '@kvlr/core';

/** How a KV cache is kept. */
export interface CacheSettings {
  /** Default 'f32'. */
  dtype?: CacheDtype;
  /** Tokens for which memory is taken at once, a sequence. Default: none; it grows in pages. Not together with `window`. */
  capacity?: number;
  /** Tokens by which an open-ended cache grows. Default 256. */
  pageTokens?: number;
  /** Sequences side by side, of any lengths. Default 1. */
  batch?: number;
  /** Only so many last tokens are kept, besides the sinks. Default: all. */
  window?: number;
  /** First tokens that are kept for good, with a window: without them attention falls apart (arXiv 2309.17453). Default 4. */
  sinks?: number;
}

export interface ResolvedCacheSettings {
  dtype: CacheDtype;
  batch: number;
  /** Undefined: open-ended. */
  capacity: number | undefined;
  pageTokens: number;
  /** 0: no window. */
  window: number;
  sinks: number;
}

/** Checks settings and fills in defaults. Throws 'invalid-argument'. */
export function resolveCacheSettings(settings: CacheSettings): ResolvedCacheSettings {
  const { dtype = 'f32', capacity, pageTokens = 256, batch = 1, window = 0, sinks = window > 0 ? 4 : 0 } = settings;
  if (!['f32', 'f16', 'int8', 'int4'].includes(dtype)) {
    throw new KvlrError('invalid-argument', {
      message: `createCache: expected dtype f32, f16, int8 or int4, got ${String(dtype)}.`,
      data: { dtype },
    });
  }
  const counts: [name: string, value: number, least: number][] = [
    ['pageTokens', pageTokens, 1],
    ['batch', batch, 1],
    ['window', window, 0],
    ['sinks', sinks, 0],
  ];
  if (capacity !== undefined) counts.push(['capacity', capacity, 1]);
  for (const [name, value, least] of counts) {
    if (Number.isSafeInteger(value) && value >= least) continue;
    throw new KvlrError('invalid-argument', {
      message: `createCache: expected ${name} to be a whole number from ${least}, got ${value}.`,
      data: { [name]: value },
    });
  }
  if (window > 0 && capacity !== undefined) {
    throw new KvlrError('invalid-argument', {
      message: `createCache: expected a window or a capacity, got window ${window} and capacity ${capacity}.`,
      hint: 'Leave the capacity out: a window with its sinks holds window + sinks tokens.',
      data: { window, capacity },
    });
  }
  return { dtype, batch, capacity: window > 0 ? window + sinks : capacity, pageTokens, window, sinks };
}
