import type { ModelSource, TensorRole } from '@kvlr/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { LayerTensors } from './layer-weights.ts';
import { uploadTransposed } from './upload-tensor.ts';

/**
 * Reads one layer's weights and puts them on the active backend, matrices as [in, out]. The caller disposes them
 * (`disposeLayer`). Throws 'tensor-missing' or 'tensor-shape'.
 */
export async function uploadLayer(source: ModelSource, layer: number): Promise<LayerTensors> {
  const { shape } = source;
  const layout = shape.layers[layer]!;
  const { hiddenSize, intermediateSize, numAttentionHeads, headDim } = shape;
  const queryWidth = numAttentionHeads * headDim;
  const sourceKeyWidth = shape.numKeyValueHeads * headDim;
  const keyWidth = layout.keys === 'latent' ? sourceKeyWidth : layout.keySlots * layout.keySlotWidth;
  const valueWidth = layout.valueSlots * layout.valueSlotWidth;
  const wanted: [part: keyof LayerTensors, role: TensorRole, fileShape: number[]][] = [
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
  const uploaded: Partial<Record<keyof LayerTensors, Tensor>> = {};
  try {
    for (const [part, role, fileShape] of wanted) {
      uploaded[part] = await uploadTransposed(source, role, layer, fileShape);
    }
  } catch (error) {
    disposeLayer(uploaded);
    throw error;
  }
  return uploaded as unknown as LayerTensors;
}

/** Frees the tensors of a layer. */
export function disposeLayer(layer: Partial<Record<keyof LayerTensors, Tensor>>): void {
  for (const part of Object.values(layer)) part.dispose();
}
