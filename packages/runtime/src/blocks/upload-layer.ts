import type { ModelSource } from '@kvlr/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { layerParts } from './layer-parts.ts';
import type { LayerTensors } from './layer-weights.ts';
import { uploadTransposed } from './upload-tensor.ts';

/**
 * Reads one layer's weights and puts them on the active backend, matrices as [in, out]. The caller disposes them
 * (`disposeLayer`). Throws 'tensor-missing' or 'tensor-shape'.
 */
export async function uploadLayer(source: ModelSource, layer: number): Promise<LayerTensors> {
  const uploaded: Partial<Record<keyof LayerTensors, Tensor>> = {};
  try {
    for (const [part, role, fileShape] of layerParts(source.shape, layer)) {
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
