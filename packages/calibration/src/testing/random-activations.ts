import {
  type ActivationSource,
  createNormalRandom,
  type DecoderShape,
  type LayerActivations,
  type TapName,
} from '@kvlr/core';

/** For tests: random activations, the same for the same first token and layer, maybe changed before they are shown. */
export function randomActivations(
  shape: DecoderShape,
  change: (activations: LayerActivations) => void = () => {},
): ActivationSource {
  const widths: Partial<Record<TapName, number>> = {
    blockInput: shape.hiddenSize,
    query: shape.numAttentionHeads * shape.headDim,
    key: shape.numKeyValueHeads * shape.headDim,
    value: shape.numKeyValueHeads * shape.headDim,
    attended: shape.numAttentionHeads * shape.headDim,
  };
  return {
    shape,
    forEachLayer: async (tokenIds, taps, visit) => {
      for (let layer = 0; layer < shape.numLayers; layer++) {
        const normal = createNormalRandom(tokenIds[0]! * 31 + layer);
        const activations: LayerActivations = { layer, tokens: tokenIds.length };
        for (const tap of taps) {
          activations[tap] = Float32Array.from({ length: tokenIds.length * widths[tap]! }, () => 0.3 + normal());
        }
        change(activations);
        await visit(activations);
      }
    },
  };
}
