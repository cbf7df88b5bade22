import {
  blockBits,
  type CacheDtype,
  type CacheStorage,
  type CodedCache,
  cacheDtypes,
  type DecoderShape,
  type EntryDtype,
  KvlrError,
} from '@kvlr/core';
import { type BlockFormat, type CacheFormat, createBlockFormat, createCacheFormat } from '@kvlr/kernels';

/** How a KV cache is kept. */
export interface CacheSettings {
  /** Default 'f32'. */
  dtype?: CacheDtype;
  /** Any codec in place of a dtype: the host stores and decodes it, on cpu and wasm alone. */
  coded?: CodedCache | undefined;
  /** With the 'channel' dtypes: newest tokens that stay halves, at least; blocks are packed whole. Default 0. */
  exactWindow?: number;
  /** With the 'channel' dtypes: first tokens that stay halves. Default 0. */
  exactFirst?: number;
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

export interface ResolvedCacheSettings extends Required<CacheStorage> {
  batch: number;
  /** Undefined: open-ended. */
  capacity: number | undefined;
  pageTokens: number;
  /** 0: no window. */
  window: number;
  sinks: number;
  coded: CodedCache | undefined;
}

/** Checks settings and fills in defaults. Throws 'invalid-argument'. */
export function resolveCacheSettings(settings: CacheSettings): ResolvedCacheSettings {
  const { dtype = 'f32', exactWindow = 0, exactFirst = 0, capacity, pageTokens = 256, batch = 1 } = settings;
  const { window = 0, sinks = window > 0 ? 4 : 0, coded } = settings;
  if (!cacheDtypes.includes(dtype)) {
    throw new KvlrError('invalid-argument', {
      message: `expected one of ${cacheDtypes.join(', ')}, got ${String(dtype)}.`,
      where: { argument: 'dtype' },
      data: { dtype },
    });
  }
  const counts: [name: string, value: number, least: number][] = [
    ['pageTokens', pageTokens, 1],
    ['batch', batch, 1],
    ['window', window, 0],
    ['sinks', sinks, 0],
    ['exactWindow', exactWindow, 0],
    ['exactFirst', exactFirst, 0],
  ];
  if (capacity !== undefined) counts.push(['capacity', capacity, 1]);
  for (const [name, value, least] of counts) {
    if (Number.isSafeInteger(value) && value >= least) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected a whole number from ${least}, got ${value}.`,
      where: { argument: name },
      data: { [name]: value },
    });
  }
  if (window > 0 && capacity !== undefined) {
    throw new KvlrError('invalid-argument', {
      message: `expected a window or a capacity, got window ${window} and capacity ${capacity}.`,
      hint: 'Leave the capacity out: a window with its sinks holds window + sinks tokens.',
      data: { window, capacity },
    });
  }
  const isBlocked = blockBits(dtype) !== undefined;
  if (isBlocked && window > 0) {
    throw new KvlrError('invalid-argument', {
      message: `expected no window with ${dtype}, whose blocks of tokens stay as they are, got window ${window}.`,
      hint: 'Leave the window out, or take a dtype that stores tokens one by one, such as int4.',
      where: { argument: 'window' },
      data: { dtype, window },
    });
  }
  if (coded !== undefined && (dtype !== 'f32' || exactWindow + exactFirst + window > 0)) {
    throw new KvlrError('invalid-argument', {
      message: 'expected a codec alone, got one with a dtype, exact tokens or a window beside it.',
      hint: 'Leave them out: the coded cache says what is exact, and it keeps every token.',
      where: { argument: 'coded' },
    });
  }
  if (!isBlocked && exactWindow + exactFirst > 0) {
    throw new KvlrError('invalid-argument', {
      message: `expected exact tokens with a dtype of blocks alone, got ${exactWindow} last and ${exactFirst} first ones with ${dtype}.`,
      hint: 'Take channel-4, channel-3 or channel-2, or leave exactWindow and exactFirst out.',
      where: { argument: exactWindow > 0 ? 'exactWindow' : 'exactFirst' },
      data: { dtype, exactWindow, exactFirst },
    });
  }
  const places = window > 0 ? window + sinks : capacity;
  return { dtype, exactWindow, exactFirst, batch, capacity: places, pageTokens, window, sinks, coded };
}

/** How one layer's cache lies in memory: tokens one by one, and with a dtype of blocks those of a full block together. */
export interface LayerFormat {
  entries: CacheFormat;
  blocks: BlockFormat | undefined;
}

/** The format of each layer. Throws 'unsupported-feature' for a layout that the dtype cannot store. */
export function layerFormats({ layers }: DecoderShape, dtype: CacheDtype): LayerFormat[] {
  const bits = blockBits(dtype);
  return layers.map(({ cache }) => ({
    entries: createCacheFormat(cache, bits === undefined ? (dtype as EntryDtype) : 'f16'),
    blocks: bits === undefined ? undefined : createBlockFormat(cache, bits),
  }));
}
