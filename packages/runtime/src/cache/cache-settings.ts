import { fitSide } from '@kvlr/cache';
import {
  type AdaptedDtype,
  adaptedBitsOf,
  adaptedDtypes,
  type CacheDtype,
  type CacheSide,
  type CacheStorage,
  type CodedCache,
  cacheDtypes,
  channelBitsOf,
  type DecoderShape,
  type EntryDtype,
  hasBlocks,
  KvlrError,
  type SideStatistics,
  slotsOfSide,
} from '@kvlr/core';
import {
  type AdaptedFormat,
  type BlockFormat,
  type CacheFormat,
  createAdaptedFormat,
  createBlockFormat,
  createCacheFormat,
} from '@kvlr/kernels';

/** What calibration knows of each layer's keys, before RoPE, and values: see `sideStatistics` of @kvlr/cache. */
export type CacheStatistics = readonly Record<CacheSide, SideStatistics>[];

/** How a KV cache is kept. */
export interface CacheSettings {
  /** Default 'f32'. */
  dtype?: CacheDtype;
  /** Any codec in place of a dtype: the host stores and decodes it, on cpu and wasm alone. */
  coded?: CodedCache | undefined;
  /** What the 'klt' dtypes, and codecs that ask for it, are fitted to. */
  statistics?: CacheStatistics | undefined;
  /** With the 'channel' and 'klt' dtypes: newest tokens that stay halves, at least; blocks are packed whole. Default 0. */
  exactWindow?: number;
  /** With the 'channel' and 'klt' dtypes: first tokens that stay halves. Default 0. */
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
  statistics: CacheStatistics | undefined;
}

const knownDtypes: readonly CacheDtype[] = [...cacheDtypes, ...adaptedDtypes];

/** Checks settings and fills in defaults. Throws 'invalid-argument'. */
export function resolveCacheSettings(settings: CacheSettings): ResolvedCacheSettings {
  const { dtype = 'f32', exactWindow = 0, exactFirst = 0, capacity, pageTokens = 256, batch = 1 } = settings;
  const { window = 0, sinks = window > 0 ? 4 : 0, coded, statistics } = settings;
  if (!knownDtypes.includes(dtype)) {
    throw new KvlrError('invalid-argument', {
      message: `expected one of ${knownDtypes.join(', ')}, got ${String(dtype)}.`,
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
  if (adaptedBitsOf(dtype) !== undefined && statistics === undefined) {
    throw new KvlrError('invalid-argument', {
      message: `expected statistics of the model for ${dtype}, which is fitted to them, got none.`,
      hint: 'Pass what calibration knows of each layer as the setting statistics, or take a dtype such as channel-3.',
      where: { argument: 'statistics' },
      data: { dtype },
    });
  }
  const isBlocked = hasBlocks(dtype);
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
      hint: 'Take a dtype such as channel-4 or klt-3, or leave exactWindow and exactFirst out.',
      where: { argument: exactWindow > 0 ? 'exactWindow' : 'exactFirst' },
      data: { dtype, exactWindow, exactFirst },
    });
  }
  const places = window > 0 ? window + sinks : capacity;
  return { dtype, exactWindow, exactFirst, batch, capacity: places, pageTokens, window, sinks, coded, statistics };
}

/** How one layer's cache lies in memory: tokens one by one, and with a dtype of blocks those of a full block together. */
export interface LayerFormat {
  entries: CacheFormat;
  blocks: BlockFormat | AdaptedFormat | undefined;
}

/** The format of each layer. Throws 'unsupported-feature' for a layout that the dtype cannot store. */
export function layerFormats(
  shape: DecoderShape,
  dtype: CacheDtype,
  statistics: CacheStatistics | undefined,
): LayerFormat[] {
  const bits = channelBitsOf(dtype);
  const adapted = adaptedBitsOf(dtype) === undefined ? undefined : adaptedFormats(shape, dtype, statistics!);
  return shape.layers.map(({ cache }, layer) => ({
    entries: createCacheFormat(cache, hasBlocks(dtype) ? 'f16' : (dtype as EntryDtype)),
    blocks: bits === undefined ? adapted?.[layer] : createBlockFormat(cache, bits),
  }));
}

/** Fitted once for the same statistics: caches of one model share it. */
const fittedFormats = new WeakMap<CacheStatistics, Map<CacheDtype, AdaptedFormat[]>>();

function adaptedFormats({ layers }: DecoderShape, dtype: CacheDtype, statistics: CacheStatistics): AdaptedFormat[] {
  if (statistics.length !== layers.length) {
    throw new KvlrError('invalid-argument', {
      message: `expected statistics of ${layers.length} layers, got those of ${statistics.length}.`,
      where: { argument: 'statistics' },
      data: { layers: layers.length, statistics: statistics.length },
    });
  }
  const known = fittedFormats.get(statistics) ?? new Map<CacheDtype, AdaptedFormat[]>();
  fittedFormats.set(statistics, known);
  let formats = known.get(dtype);
  if (formats === undefined) {
    const bits = adaptedBitsOf(dtype)!;
    formats = layers.map(({ cache }, layer) => {
      const fit = (side: CacheSide) =>
        fitSide({ ...slotsOfSide(cache, side), layer, side, statistics: statistics[layer]![side] }, bits);
      return createAdaptedFormat(cache, dtype as AdaptedDtype, { keys: fit('keys'), values: fit('values') });
    });
    known.set(dtype, formats);
  }
  return formats;
}
