import { applyCompression, keptLayer } from '@kvlr/checkpoint';
import { balanceKeyScales, readAttentionWeights } from '@kvlr/compression';
import { type CompressedLayer, everyHead, type ModelSource } from '@kvlr/core';
import { recentLayer } from '../run/context.ts';
import type { ModelStatistics } from './statistics.ts';

/**
 * The same model with the scales of its keys balanced (`balanceKeyScales`): the same logits up to rounding, and less loss in caches that
 * store keys in blocks. Layers are computed when they are read.
 *
 * @param statistics Of the model or of the one that it was made from.
 */
export async function withBalancedKeys(model: ModelSource, statistics: ModelStatistics): Promise<ModelSource> {
  const { shape } = model;
  const balance = async (layer: number): Promise<CompressedLayer> => {
    const weights = await readAttentionWeights(model, layer);
    const { cache } = shape.layers[layer]!;
    return {
      layer,
      groups: everyHead(cache.keySlots).map((head) => [head]),
      queryOrder: everyHead(shape.numAttentionHeads),
      slots: cache,
      keys: { kind: 'stock' },
      weights: balanceKeyScales({ shape, layer, weights, statistics: await statistics.layer(layer) }),
    };
  };
  // Each of a layer's tensors is asked for by itself.
  const read = recentLayer(balance);
  const layers = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    layers.push(keptLayer(await balance(layer), () => read(layer)));
  }
  return applyCompression(model, layers);
}
