import { type CacheDtype, type CacheStorage, type DecoderShape, hasBlocks, type Measurement } from '@kvlr/core';
import type { Pictures } from './pictures.ts';

/** How a cache keeps its numbers, as the page offers it. */
export interface CacheCodec {
  /** As the runtime calls its dtype. */
  name: string;
  /** For people: '8 bits'. */
  title: string;
  /** The same where there is little room. */
  label: string;
}

/** How the runtime is to keep such a cache. Of blocks, which few bits suffice for, the first and the newest tokens stay as they are. */
export function storageOf(codec: string): CacheStorage {
  const dtype = codec as CacheDtype;
  return hasBlocks(dtype) ? { dtype, exactWindow: 32, exactFirst: 4 } : { dtype };
}

/** What a model scores with its cache kept in one codec, against the original with an exact cache. */
export interface CodecScore {
  codec: string;
  /** Exact, all layers, scales and exact tokens included: the mean over a context of `Measured.contextTokens`. */
  bytesPerToken: number;
  perplexity: Measurement;
  /** To the original's perplexity, paired over windows. */
  perplexityRatio: Measurement;
  /** Share of positions at which both put the same token first. */
  agreement: Measurement;
}

/** One compressed model, or the original itself: what its cache holds and what it scores. */
export interface PairRecord {
  /** Part of addresses: 'all', 'half', 'own'. */
  name: string;
  /** Share of the original's cache, 1 for the original. */
  keep: number;
  keyValueHeads: number;
  headDim: number;
  parameters: number;
  scores: CodecScore[];
  /** Absent for the original. */
  pictures?: Pictures;
}

/** What the figures of a set of records were measured on. */
export interface Measured {
  tokens: number;
  windows: number;
  windowLength: number;
  /** Tokens of context that bytes are counted at. */
  contextTokens: number;
  sources: string[];
}

/** Models of one original, side by side. */
export interface PairSet {
  modelName: string;
  numLayers: number;
  measured: Measured;
  codecs: CacheCodec[];
  /** The original first, then by the share that is kept, descending. */
  records: PairRecord[];
}

/** Beside which everything is measured and shown: all heads, numbers of 16 bits, as servers keep them. */
export const usualCodec = 'f16';

export function scoreOf(record: PairRecord, codec: string): CodecScore {
  return record.scores.find((score) => score.codec === codec) ?? record.scores[0]!;
}

/** Figures of a record that follow from its shape. */
export function headsOf(shape: DecoderShape): Pick<PairRecord, 'keyValueHeads' | 'headDim'> {
  return { keyValueHeads: shape.layers[0]!.cache.keySlots, headDim: shape.headDim };
}
