import { createNormalRandom, type ModelSource } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';

/** For tests: a random model that rebuilds four keys of width 8 from `keySlots` slots; eight query heads, narrow values. */
export function createRebuiltModel(keySlots: number): ModelSource {
  const base = createTinyModel({ numAttentionHeads: 8, numKeyValueHeads: 4, headDim: 8 });
  const { numAttentionHeads, numKeyValueHeads, headDim, hiddenSize } = base.shape;
  const layout = { keySlots, keySlotWidth: 12 / keySlots, valueSlots: 4, valueSlotWidth: 6, keys: 'rebuilt' as const };
  const normal = createNormalRandom(12);
  const fill = (shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return { shape, data: Float32Array.from({ length: count }, () => 0.3 * normal()) };
  };
  for (let layer = 0; layer < base.shape.numLayers; layer++) {
    const rebuiltWidth = (numKeyValueHeads * headDim) / keySlots;
    base.dense.set(base.tensorName('keyWeight', layer), fill([12, hiddenSize]));
    base.dense.set(base.tensorName('rebuiltKeyDecoder', layer), fill([keySlots, rebuiltWidth, layout.keySlotWidth]));
    base.dense.set(base.tensorName('valueWeight', layer), fill([24, hiddenSize]));
    base.dense.set(base.tensorName('outputWeight', layer), fill([hiddenSize, numAttentionHeads * 6]));
  }
  return { ...base, shape: { ...base.shape, layers: base.shape.layers.map((layer) => ({ ...layer, cache: layout })) } };
}
