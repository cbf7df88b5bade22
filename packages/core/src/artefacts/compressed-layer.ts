import type { LayerCacheLayout } from '../model/decoder-shape.ts';
import type { TensorRole } from '../model/decoder-tensors.ts';

/**
 * Float64 weights of one layer's attention, matrices [out, in] row-major, biases [out] and norms of queries and keys where the model
 * has them, as wide as `AttentionShape.queryKeyNorm` says and as the file holds them.
 */
export interface AttentionWeights {
  query: Float64Array;
  key: Float64Array;
  value: Float64Array;
  output: Float64Array;
  queryBias?: Float64Array;
  keyBias?: Float64Array;
  valueBias?: Float64Array;
  outputBias?: Float64Array;
  queryNorm?: Float64Array;
  queryNormBias?: Float64Array;
  keyNorm?: Float64Array;
  keyNormBias?: Float64Array;
}

/** The tensor that each of the weights is in a model. */
export const rolesOfAttentionWeights = {
  query: 'queryWeight',
  key: 'keyWeight',
  value: 'valueWeight',
  output: 'outputWeight',
  queryBias: 'queryBias',
  keyBias: 'keyBias',
  valueBias: 'valueBias',
  outputBias: 'outputBias',
  queryNorm: 'queryNorm',
  queryNormBias: 'queryNormBias',
  keyNorm: 'keyNorm',
  keyNormBias: 'keyNormBias',
} as const satisfies Record<keyof AttentionWeights, TensorRole>;

/** Keys as any engine with grouped-query attention caches them: projected and rotated, one head of headDim a slot. */
export interface StockKeys {
  kind: 'stock';
}

/**
 * Latent keys: the cache holds encoder * rotatedKeys; a head's score is (queryEncoder[h] * rotatedQuery) . slot / sqrt(headDim).
 */
export interface LatentKeys {
  kind: 'latent';
  /** [keySlots * keySlotWidth, sourceKeyValueHeads * headDim] */
  encoder: Float64Array;
  /** [numAttentionHeads, keySlotWidth, headDim], in the order of the result's query heads. */
  queryEncoder: Float64Array;
}

/**
 * Rebuilt keys: the cache holds latents of keys before RoPE. Head i of the rebuilt ones is rows i mod t of the decoder of slot
 * floor(i / t), t = sourceKeyValueHeads / keySlots, times that slot; query head p reads rebuilt head
 * floor(p * sourceKeyValueHeads / numAttentionHeads).
 */
export interface RebuiltKeys {
  kind: 'rebuilt';
  /** [keySlots, t * headDim, keySlotWidth] */
  decoder: Float64Array;
}

/** What the cache holds of keys, and the weights that reading them takes besides the projections. */
export type CachedKeys = StockKeys | LatentKeys | RebuiltKeys;

/** The slots of one layer's cache, whatever its keys are. */
export type CacheSlots = Omit<LayerCacheLayout, 'keys'>;

/** The result of compressing one layer: the new attention and how its cache is laid out. */
export interface CompressedLayer {
  layer: number;
  /** The source's KV heads that share a head of the result, one list per group, in the result's order. */
  groups: number[][];
  /** Source query head at each place of the result: result head p is source head queryOrder[p]. */
  queryOrder: number[];
  slots: CacheSlots;
  keys: CachedKeys;
  /** q and o are permuted by queryOrder. Under latent keys, `key` is the source's key projection unchanged. */
  weights: AttentionWeights;
}

/** The cache layout of a compressed layer, as the shape of a model says it. */
export function cacheLayout({ slots, keys }: Pick<CompressedLayer, 'slots' | 'keys'>): LayerCacheLayout {
  return { ...slots, keys: keys.kind };
}
