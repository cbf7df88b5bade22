import { cacheWidth, type DecoderShape, type LayerCacheLayout } from '@kvlr/core';

function describeLayer(layout: LayerCacheLayout): string {
  if (layout.keys === 'stock' && layout.keySlots === layout.valueSlots) return String(layout.keySlots);
  return `${layout.keySlots} x ${layout.keySlotWidth} key + ${layout.valueSlots} x ${layout.valueSlotWidth} value`;
}

/** KV heads per layer in few words: "4", "2 to 6" where layers differ, "1 x 256 key + 4 x 64 value" for latent keys. */
export function describeLayout(shape: DecoderShape): string {
  const layers = shape.layers;
  const described = [...new Set(layers.map(describeLayer))];
  if (described.length === 1) return described[0]!;
  if (hasKeyValueHeads(shape)) {
    const heads = layers.map((layout) => layout.keySlots);
    return `${Math.min(...heads)} to ${Math.max(...heads)}`;
  }
  const widths = layers.map(cacheWidth);
  return `mixed, ${Math.min(...widths)} to ${Math.max(...widths)} numbers per token`;
}

/** True when every layer holds ordinary rotated keys in as many heads as values, the same in all layers: any engine loads it. */
export function isStockShape(shape: DecoderShape): boolean {
  const first = shape.layers[0];
  return shape.layers.every(
    (layout) =>
      layout.keys === 'stock' &&
      layout.keySlots === first?.keySlots &&
      layout.valueSlots === layout.keySlots &&
      layout.keySlotWidth === shape.headDim &&
      layout.valueSlotWidth === shape.headDim,
  );
}

/** True where every layer has as many ordinary key slots as values, be it a different number in each layer. */
export function hasKeyValueHeads(shape: DecoderShape): boolean {
  return shape.layers.every((layout) => layout.keys === 'stock' && layout.keySlots === layout.valueSlots);
}

/** One line about a model: "llama, 6 layers, hidden 256, 8 query heads, 8 KV heads of 32, vocabulary 4,096". */
export function describeShape(shape: DecoderShape): string {
  return [
    shape.architecture,
    `${shape.numLayers} layers`,
    `hidden ${shape.hiddenSize}`,
    `${shape.numAttentionHeads} query heads`,
    hasKeyValueHeads(shape)
      ? `${describeLayout(shape)} KV heads of ${shape.headDim}`
      : `a cache of ${describeLayout(shape)} per layer`,
    `vocabulary ${shape.vocabSize.toLocaleString('en-US')}`,
  ].join(', ');
}
