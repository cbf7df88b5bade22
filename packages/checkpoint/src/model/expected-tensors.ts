import type { DecoderShape, TensorRole } from '@kvlr/core';

/** A tensor that a model of some shape must have. */
export interface ExpectedTensor {
  role: TensorRole;
  layer?: number;
  shape: number[];
}

/** Every tensor of a model of this shape. Matrices are [out, in]. */
export function expectedTensors(shape: DecoderShape): ExpectedTensor[] {
  const { vocabSize, hiddenSize } = shape;
  const expected: ExpectedTensor[] = [
    { role: 'embedding', shape: [vocabSize, hiddenSize] },
    { role: 'finalNorm', shape: [hiddenSize] },
  ];
  if (!shape.tieWordEmbeddings) expected.push({ role: 'languageModelHead', shape: [vocabSize, hiddenSize] });
  for (let layer = 0; layer < shape.numLayers; layer++) {
    for (const [role, dimensions] of layerTensors(shape, layer)) expected.push({ role, layer, shape: dimensions });
  }
  return expected;
}

function layerTensors(shape: DecoderShape, layer: number): [TensorRole, number[]][] {
  const { hiddenSize, intermediateSize, numAttentionHeads, headDim } = shape;
  const layout = shape.layers[layer]!;
  const queryRows = numAttentionHeads * headDim;
  // Latent keys encode the keys of all source heads, so the projection keeps them.
  const sourceKeyRows = shape.numKeyValueHeads * headDim;
  const keyRows = layout.keys === 'latent' ? sourceKeyRows : layout.keySlots * layout.keySlotWidth;
  const valueRows = layout.valueSlots * layout.valueSlotWidth;
  const tensors: [TensorRole, number[]][] = [
    ['attentionNorm', [hiddenSize]],
    ['queryWeight', [queryRows, hiddenSize]],
    ['keyWeight', [keyRows, hiddenSize]],
    ['valueWeight', [valueRows, hiddenSize]],
    ['outputWeight', [hiddenSize, numAttentionHeads * layout.valueSlotWidth]],
    ['feedForwardNorm', [hiddenSize]],
    ['gateWeight', [intermediateSize, hiddenSize]],
    ['upWeight', [intermediateSize, hiddenSize]],
    ['downWeight', [hiddenSize, intermediateSize]],
  ];
  if (shape.attentionBias) {
    tensors.push(['queryBias', [queryRows]], ['keyBias', [keyRows]], ['valueBias', [valueRows]]);
  }
  if (shape.outputBias) tensors.push(['outputBias', [hiddenSize]]);
  if (shape.mlpBias) {
    tensors.push(['gateBias', [intermediateSize]], ['upBias', [intermediateSize]], ['downBias', [hiddenSize]]);
  }
  if (layout.keys === 'latent') {
    tensors.push(
      ['latentKeyEncoder', [layout.keySlots * layout.keySlotWidth, keyRows]],
      ['latentQueryEncoder', [numAttentionHeads, layout.keySlotWidth, headDim]],
    );
  }
  if (layout.keys === 'rebuilt') {
    tensors.push(['rebuiltKeyDecoder', [layout.keySlots, sourceKeyRows / layout.keySlots, layout.keySlotWidth]]);
  }
  return tensors;
}
