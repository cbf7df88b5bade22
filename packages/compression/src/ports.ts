import type { AttentionWeights, CachedKeys, HeadGroups, StockKeys } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type { SourceLayer } from './source-layer.ts';

/**
 * Rank-r factors of the t heads of a group: head i of the group is approximated by decoders[i] * encoder * u, where u is
 * the heads' vectors side by side. `encoder` is [r, t*D], each decoder [D, r].
 */
export interface GroupFactors {
  encoder: Matrix;
  decoders: Matrix[];
  /**
   * Values only: a constant [D] for each head that its decoded value lacks. Attention rows sum to one, so it moves into the
   * output bias; factors bring it only where the model has one (`shape.attention.outputBias`).
   */
  lostMeans?: Float64Array[];
}

/**
 * Port: factors of the keys before RoPE of heads that share a cache slot of `width` numbers: D, or m D in wide heads, of which
 * RoPE rotates the pair (p, p + m D/2) by the frequency of the source's pair p mod D/2. RoPE stands between encoder and decoder,
 * so factors that act on the pairs of each frequency as on complex numbers are exact under it, and others err with the distance
 * of query and key.
 */
export type KeyMethod = (layer: SourceLayer, heads: readonly number[], width: number) => GroupFactors;

/**
 * Port: factors of the values of heads that share a cache slot of `width` numbers: D, m D in wide heads, or less than D under
 * `valueSlots: 'head'`.
 */
export type ValueMethod = (layer: SourceLayer, heads: readonly number[], width: number) => GroupFactors;

/** Query and key projections of a compressed layer, query heads in the order of the result, and the slots of its keys. */
export interface KeyProjections {
  query: Float64Array;
  queryBias?: Float64Array | undefined;
  /** What is projected per token: the cached keys where they are stock or rebuilt, the source's own keys where they are latent. */
  key: Float64Array;
  keyBias?: Float64Array | undefined;
  keySlots: number;
  keySlotWidth: number;
  /** Norms of the result's queries and keys. Left out: the source's, those of merged heads averaged. */
  norms?: Pick<AttentionWeights, 'queryNorm' | 'queryNormBias' | 'keyNorm' | 'keyNormBias'> | undefined;
}

/** Projections of keys that are cached as any engine caches them. */
export type StockKeyProjections = KeyProjections & StockKeys;

/** The key side of a compressed layer: its `kind`, the weights of that kind, and the projections. */
export type CompressedKeys = KeyProjections & CachedKeys;

/**
 * Port: how the rotated keys of a whole layer are compressed and laid out in the cache. `rank`, the numbers of keys per token,
 * is given under `freeRanks` and for wide heads; without it every group keeps D.
 */
export type RopeStrategy = (layer: SourceLayer, groups: HeadGroups, rank?: number) => CompressedKeys;

/** A named way of compressing a layer: a strategy for its keys and a method for its values. */
export interface CompressionMethod {
  title: string;
  description: string;
  /** Where it was published. */
  source: string;
  /** True where the result is ordinary grouped-query attention, which any engine runs; false where only kvlr's runtime does. */
  portable: boolean;
  /**
   * 'group' (the default): the heads of a group share one value, as wide as a head of the result. 'head': each keeps one of its own,
   * of width D*G/K, which takes as much cache and is not ordinary grouped-query attention.
   */
  valueSlots?: 'group' | 'head';
  /**
   * Present where keys and values may each keep any number of their directions, so that a budget may set them apart: whether
   * the directions of keys are those of the whole 'layer' or of each 'group', and on which side of RoPE they are taken.
   */
  freeRanks?: { basis: 'layer' | 'group'; stage: 'rotated' | 'projected' };
  /** Which sides may fill heads that are wider than the source's. None by default; wide heads need both. */
  wideHeads?: { keys?: boolean | undefined; values?: boolean | undefined } | undefined;
  /** False when the weights alone are enough. */
  needsStatistics: boolean;
  /** True when values are fitted to `SourceLayer.attended`, which takes a second pass over the text with the groups known. */
  needsAttendedMoments?: boolean;
  keys: RopeStrategy;
  values: ValueMethod;
}
