import type { DecoderShape } from '@kvlr/core';

/** The KV head count that all layers share, if every layer is stock grouped-query attention with the same count. */
export function uniformKeyValueHeads(shape: DecoderShape): number | undefined {
  const count = shape.layers[0]?.keySlots;
  const uniform = shape.layers.every(
    (layout) =>
      layout.keys === 'stock' &&
      layout.keySlots === count &&
      layout.valueSlots === count &&
      layout.valueSlotWidth === shape.headDim,
  );
  return uniform ? count : undefined;
}
