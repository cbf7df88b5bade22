import type { CacheSize } from '../artefacts/evaluation-result.ts';
import { cacheWidth, type LayerCacheLayout } from '../model/decoder-shape.ts';

/** What decides the size of a cache: the layout of each layer. A `DecoderShape` is one. */
export interface CachedLayers {
  layers: readonly { cache: LayerCacheLayout }[];
}

/** How wide a number is, and whether a slot has a word before its numbers: codes, with a scale and an offset of half precision each. */
const storedNumbers = {
  f32: { bits: 32, coded: false },
  f16: { bits: 16, coded: false },
  fp8: { bits: 8, coded: false },
  int8: { bits: 8, coded: true },
  int4: { bits: 4, coded: true },
} as const;

/**
 * How a cache keeps the numbers of one token by itself: floats of 32, 16 or 8 bits (E4M3, arXiv 2209.05433), or codes of one token's
 * slot.
 */
export type EntryDtype = keyof typeof storedNumbers;

/** Bits of a number, where a cache keeps whole blocks of tokens by channel. */
const channelBits = { 'channel-4': 4, 'channel-3': 3, 'channel-2': 2 } as const;

/**
 * Blocks of 32 tokens: keys as affine codes of each channel, as they are before RoPE (KIVI, arXiv 2402.02750), values as codes of the
 * rotated slot (QuaRot, arXiv 2404.00456). What is in no block yet are halves, token by token.
 */
export type ChannelDtype = keyof typeof channelBits;

/** Bits of a number on average, where a cache keeps whole blocks of tokens in a basis that is fitted to the model. */
const adaptedBits = { 'klt-4': 4, 'klt-3': 3, 'klt-2.5': 2.5, 'klt-2': 2, 'klt-1.5': 1.5 } as const;

/**
 * Blocks of 32 tokens: codes of each number in a basis fitted to calibration text, each of 0 to 8 bits. What is in no block yet are
 * halves, token by token.
 */
export type AdaptedDtype = keyof typeof adaptedBits;

/** How a cache keeps its numbers. */
export type CacheDtype = EntryDtype | ChannelDtype | AdaptedDtype;

/** Every dtype of tokens one by one. */
export const entryDtypes = Object.keys(storedNumbers) as readonly EntryDtype[];

/** Every dtype that is fitted to what calibration knows of a model. */
export const adaptedDtypes = Object.keys(adaptedBits) as readonly AdaptedDtype[];

/** Every dtype of a cache that needs to know nothing of the model. */
export const cacheDtypes = [...entryDtypes, ...(Object.keys(channelBits) as ChannelDtype[])] as readonly CacheDtype[];

/** Tokens of a block. */
export const BLOCK_TOKENS = 32;

/** How a cache is stored. */
export interface CacheStorage {
  dtype: CacheDtype;
  /** Of blocks: newest tokens that stay halves, at least; blocks are coded whole. Default 0. */
  exactWindow?: number;
  /** Of blocks: first tokens that stay halves. Default 0. */
  exactFirst?: number;
}

/** Bits of a number, where tokens are stored in blocks by channel; undefined elsewhere. */
export function channelBitsOf(dtype: CacheDtype): 2 | 3 | 4 | undefined {
  return channelBits[dtype as ChannelDtype];
}

/** Bits of a number on average, where tokens are stored in blocks in a fitted basis; undefined elsewhere. */
export function adaptedBitsOf(dtype: CacheDtype): number | undefined {
  return adaptedBits[dtype as AdaptedDtype];
}

/** Whether tokens are stored in blocks. */
export function hasBlocks(dtype: CacheDtype): boolean {
  return dtype in channelBits || dtype in adaptedBits;
}

/** Blocks that are full when a sequence has so many tokens. */
export function fullBlocks({ dtype, exactWindow = 0, exactFirst = 0 }: CacheStorage, tokens: number): number {
  if (!hasBlocks(dtype)) return 0;
  return Math.floor(Math.max(0, tokens - exactFirst - exactWindow) / BLOCK_TOKENS);
}

/** Room for sequences of up to so many tokens: entries of tokens one by one, and blocks. */
export function cacheCapacity(storage: CacheStorage, tokens: number): { entries: number; blocks: number } {
  if (!hasBlocks(storage.dtype)) return { entries: tokens, blocks: 0 };
  const { exactWindow = 0, exactFirst = 0 } = storage;
  // A block is coded when its last token is there.
  const entries = Math.min(tokens, exactFirst + exactWindow + BLOCK_TOKENS);
  return { entries, blocks: fullBlocks(storage, tokens) };
}

/** 32-bit words of a slot: how many numbers lie in each, and how many stand before them. */
export function slotWords(dtype: EntryDtype): { numbersPerWord: number; headerWords: number } {
  const { bits, coded } = storedNumbers[dtype];
  return { numbersPerWord: 32 / bits, headerWords: coded ? 1 : 0 };
}

/** 32-bit words that one slot of `width` numbers takes in the cache. */
export function cacheSlotWords(width: number, dtype: EntryDtype): number {
  const { numbersPerWord, headerWords } = slotWords(dtype);
  return headerWords + Math.ceil(width / numbersPerWord);
}

/** 32-bit words that one token's entry takes in one layer's cache by itself, scales included. Those that wait for a block are halves. */
export function cacheEntryWords(layout: LayerCacheLayout, dtype: CacheDtype): number {
  const { keySlots, keySlotWidth, valueSlots, valueSlotWidth } = layout;
  const entryDtype = hasBlocks(dtype) ? 'f16' : (dtype as EntryDtype);
  return keySlots * cacheSlotWords(keySlotWidth, entryDtype) + valueSlots * cacheSlotWords(valueSlotWidth, entryDtype);
}

/**
 * 32-bit words of a block in one layer's cache, 0 for a dtype without blocks. By channel, keys: for each channel a word with scale and
 * least number, and b words of codes; values: for each slot 32 gains of half precision, and for each channel b words of codes. In a fitted
 * basis as many words as there are bits of all numbers of a token, rounded down for keys and for values.
 */
export function cacheBlockWords(layout: LayerCacheLayout, dtype: CacheDtype): number {
  const { keySlots, keySlotWidth, valueSlots, valueSlotWidth } = layout;
  const mean = adaptedBitsOf(dtype);
  if (mean !== undefined) {
    return Math.floor(mean * keySlots * keySlotWidth) + Math.floor(mean * valueSlots * valueSlotWidth);
  }
  const bits = channelBitsOf(dtype);
  if (bits === undefined) return 0;
  return keySlots * keySlotWidth * (1 + bits) + valueSlots * (BLOCK_TOKENS / 2 + valueSlotWidth * bits);
}

/** Exact bytes of a KV cache for `capacity` tokens of `batch` sequences (default 1), scales and exact tokens included. */
export function cacheBytes(shape: CachedLayers, settings: CacheStorage & { capacity: number; batch?: number }): number {
  const { dtype, capacity, batch = 1 } = settings;
  const { entries, blocks } = cacheCapacity(settings, capacity);
  const words = shape.layers.reduce(
    (sum, { cache }) => sum + entries * cacheEntryWords(cache, dtype) + blocks * cacheBlockWords(cache, dtype),
    0,
  );
  return 4 * words * batch;
}

/**
 * Bytes of KV cache per token: the sum over layers of the cache width times the element size. For stock grouped-query
 * attention this is 2 x layers x KV heads x headDim x bytesPerElement.
 */
export function cacheSize(shape: CachedLayers, bytesPerElement: number): CacheSize {
  const elementsPerTokenByLayer = shape.layers.map(({ cache }) => cacheWidth(cache));
  const elements = elementsPerTokenByLayer.reduce((sum, width) => sum + width, 0);
  return { bytesPerToken: elements * bytesPerElement, bytesPerElement, elementsPerTokenByLayer };
}

/**
 * Bytes of KV cache per token where the cache keeps its numbers in this dtype: of a token in a block, where there are blocks.
 * `bytesPerElement` is the mean with scales.
 */
export function codedCacheSize(shape: CachedLayers, dtype: CacheDtype): CacheSize {
  const { elementsPerTokenByLayer } = cacheSize(shape, 1);
  const bytesPerToken = shape.layers.reduce(
    (sum, { cache }) =>
      sum + (hasBlocks(dtype) ? (4 * cacheBlockWords(cache, dtype)) / BLOCK_TOKENS : 4 * cacheEntryWords(cache, dtype)),
    0,
  );
  const elements = elementsPerTokenByLayer.reduce((sum, width) => sum + width, 0);
  return { bytesPerToken, bytesPerElement: bytesPerToken / elements, elementsPerTokenByLayer };
}
