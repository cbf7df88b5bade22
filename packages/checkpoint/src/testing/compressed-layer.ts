import {
  type CachedKeys,
  type CacheSlots,
  type CompressedLayer,
  createNormalRandom,
  type DecoderShape,
  stockLayout,
} from '@kvlr/core';

export interface RandomLayerSettings {
  layer: number;
  /** KV heads of the result. */
  groups: number;
  /** Width of the heads in widths of the source's. Default 1. */
  headWidth?: number;
  /** Width of the layer's one latent key slot, for latent keys. */
  latentRank?: number;
  /** Width of the key slots, one a group, for rebuilt keys. */
  rebuiltRank?: number;
  outputBias?: boolean;
}

/** A compressed layer of the right sizes with seeded random weights: form without meaning. */
export function randomCompressedLayer(shape: DecoderShape, settings: RandomLayerSettings): CompressedLayer {
  const { layer, groups, headWidth = 1, latentRank, rebuiltRank } = settings;
  const { hiddenSize, numAttentionHeads, numKeyValueHeads } = shape;
  const headDim = headWidth * shape.headDim;
  const normal = createNormalRandom(layer + 1);
  const random = (length: number): Float64Array => Float64Array.from({ length }, normal);
  const { keys: _, ...stock } = stockLayout(groups, headDim);
  const keyRows = latentRank === undefined ? groups * (rebuiltRank ?? headDim) : numKeyValueHeads * headDim;
  const slots: CacheSlots =
    latentRank !== undefined
      ? { ...stock, keySlots: 1, keySlotWidth: latentRank }
      : { ...stock, keySlotWidth: rebuiltRank ?? headDim };
  const size = numKeyValueHeads / groups;
  return {
    layer,
    groups: Array.from({ length: groups }, (_, group) => Array.from({ length: size }, (__, i) => group * size + i)),
    queryOrder: Array.from({ length: numAttentionHeads }, (_, head) => head),
    slots,
    keys: cachedKeys(settings, shape, random),
    weights: {
      query: random(numAttentionHeads * headDim * hiddenSize),
      key: random(keyRows * hiddenSize),
      value: random(groups * headDim * hiddenSize),
      output: random(hiddenSize * numAttentionHeads * headDim),
      ...(settings.outputBias ? { outputBias: random(hiddenSize) } : {}),
    },
  };
}

function cachedKeys(
  { latentRank, rebuiltRank }: RandomLayerSettings,
  { numAttentionHeads, numKeyValueHeads, headDim }: DecoderShape,
  random: (length: number) => Float64Array,
): CachedKeys {
  if (latentRank !== undefined) {
    return {
      kind: 'latent',
      encoder: random(latentRank * numKeyValueHeads * headDim),
      queryEncoder: random(numAttentionHeads * latentRank * headDim),
    };
  }
  if (rebuiltRank === undefined) return { kind: 'stock' };
  return { kind: 'rebuilt', decoder: random(numKeyValueHeads * headDim * rebuiltRank) };
}
