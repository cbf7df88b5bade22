import { createNormalRandom } from '@kvlr/core';
import { createTinyModel, type TinyModel, type TinyModelSettings } from '@kvlr/testkit';

/** For tests: a random model with latent keys of width 16 in `keySlots` slots, over all source heads; values have two slots. */
export function createLatentModel(keySlots: number, settings: TinyModelSettings = {}): TinyModel {
  const base = createTinyModel(settings);
  const { numAttentionHeads, numKeyValueHeads, headDim } = base.shape;
  const layout = {
    keySlots,
    keySlotWidth: 16 / keySlots,
    valueSlots: 2,
    valueSlotWidth: headDim,
    keys: 'latent' as const,
  };
  const normal = createNormalRandom(11);
  const fill = (shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    return { shape, data: Float32Array.from({ length: count }, () => 0.3 * normal()) };
  };
  for (let layer = 0; layer < base.shape.numLayers; layer++) {
    const sourceWidth = numKeyValueHeads * headDim;
    base.dense.set(base.tensorName('latentKeyEncoder', layer), fill([keySlots * layout.keySlotWidth, sourceWidth]));
    base.dense.set(
      base.tensorName('latentQueryEncoder', layer),
      fill([numAttentionHeads, layout.keySlotWidth, headDim]),
    );
    base.dense.set(base.tensorName('valueWeight', layer), fill([2 * headDim, base.shape.hiddenSize]));
  }
  return { ...base, shape: { ...base.shape, layers: base.shape.layers.map((layer) => ({ ...layer, cache: layout })) } };
}
