import { type ModelSource, throwIfAborted } from '@kvlr/core';
import { type Tensor1D, type Tensor2D, tensor1d, tensor2d } from '@tensorflow/tfjs-core';
import type { LayerTensors } from '../blocks/layer-weights.ts';
import { disposeLayer, uploadLayer } from '../blocks/upload-layer.ts';
import { readTensor } from '../blocks/upload-tensor.ts';

/** All weights of a decoder on the device. */
export interface DecoderTensors {
  /** [vocabSize, hiddenSize] */
  embedding: Tensor2D;
  layers: LayerTensors[];
  finalNorm: Tensor1D;
  /** [vocabSize, hiddenSize]; the embedding itself where they are tied. */
  head: Tensor2D;
}

/** Uploads a whole model to the active backend; on an error or abort nothing stays there. */
export async function uploadDecoder(source: ModelSource, signal?: AbortSignal): Promise<DecoderTensors> {
  const { shape } = source;
  const { vocabSize, hiddenSize, numLayers } = shape;
  const table = async (role: 'embedding' | 'languageModelHead'): Promise<Tensor2D> =>
    tensor2d(await readTensor(source, role, undefined, [vocabSize, hiddenSize]), [vocabSize, hiddenSize]);
  const uploaded: Partial<DecoderTensors> & { layers: LayerTensors[] } = { layers: [] };
  try {
    uploaded.embedding = await table('embedding');
    for (let layer = 0; layer < numLayers; layer++) {
      throwIfAborted(signal);
      uploaded.layers.push(await uploadLayer(source, layer));
    }
    uploaded.finalNorm = tensor1d(await readTensor(source, 'finalNorm', undefined, [hiddenSize]));
    uploaded.head = shape.tieWordEmbeddings ? uploaded.embedding : await table('languageModelHead');
  } catch (error) {
    disposeDecoder(uploaded);
    throw error;
  }
  return uploaded as DecoderTensors;
}

/** Frees a model's tensors. */
export function disposeDecoder(tensors: Partial<DecoderTensors> & { layers: LayerTensors[] }): void {
  for (const layer of tensors.layers) disposeLayer(layer);
  if (tensors.head !== tensors.embedding) tensors.head?.dispose();
  tensors.embedding?.dispose();
  tensors.finalNorm?.dispose();
}
