import type { DecoderShape, TensorRole } from '@kvlr/core';
import type { LayerTensors } from './layer-weights.ts';

/** A tensor of one layer: its name on the device, its role in the checkpoint, and its shape there, matrices [out, in]. */
export type LayerPart = [part: keyof LayerTensors, role: TensorRole, fileShape: number[]];

/** The tensors that a layer of a model has. */
export function layerParts(shape: DecoderShape, layer: number): LayerPart[] {
  const layout = shape.layers[layer]!;
  const { hiddenSize, intermediateSize, numAttentionHeads, headDim } = shape;
  const queryWidth = numAttentionHeads * headDim;
  const sourceKeyWidth = shape.numKeyValueHeads * headDim;
  const keyWidth = layout.keys === 'latent' ? sourceKeyWidth : layout.keySlots * layout.keySlotWidth;
  const valueWidth = layout.valueSlots * layout.valueSlotWidth;
  const wanted: LayerPart[] = [
    ['attentionNorm', 'attentionNorm', [hiddenSize]],
    ['query', 'queryWeight', [queryWidth, hiddenSize]],
    ['key', 'keyWeight', [keyWidth, hiddenSize]],
    ['value', 'valueWeight', [valueWidth, hiddenSize]],
    ['output', 'outputWeight', [hiddenSize, numAttentionHeads * layout.valueSlotWidth]],
    ['feedForwardNorm', 'feedForwardNorm', [hiddenSize]],
    ['gate', 'gateWeight', [intermediateSize, hiddenSize]],
    ['up', 'upWeight', [intermediateSize, hiddenSize]],
    ['down', 'downWeight', [hiddenSize, intermediateSize]],
  ];
  if (shape.attentionBias) {
    wanted.push(
      ['queryBias', 'queryBias', [queryWidth]],
      ['keyBias', 'keyBias', [keyWidth]],
      ['valueBias', 'valueBias', [valueWidth]],
    );
  }
  if (shape.outputBias) wanted.push(['outputBias', 'outputBias', [hiddenSize]]);
  if (shape.mlpBias) {
    wanted.push(
      ['gateBias', 'gateBias', [intermediateSize]],
      ['upBias', 'upBias', [intermediateSize]],
      ['downBias', 'downBias', [hiddenSize]],
    );
  }
  if (layout.keys === 'latent') {
    wanted.push(
      ['latentKeyEncoder', 'latentKeyEncoder', [layout.keySlots * layout.keySlotWidth, keyWidth]],
      ['latentQueryEncoder', 'latentQueryEncoder', [numAttentionHeads, layout.keySlotWidth, headDim]],
    );
  }
  if (layout.keys === 'rebuilt') {
    const decoderShape = [layout.keySlots, sourceKeyWidth / layout.keySlots, layout.keySlotWidth];
    wanted.push(['rebuiltKeyDecoder', 'rebuiltKeyDecoder', decoderShape]);
  }
  return wanted;
}
