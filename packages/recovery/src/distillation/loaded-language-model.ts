import type { ModelSource } from '@kvlr/core';
import { disposeLayer, type LayerTensors, uploadLayer } from '@kvlr/runtime';
import { type Tensor1D, type Tensor2D, tensor1d, tensor2d } from '@tensorflow/tfjs-core';

/** A whole model on the device, layer by layer at hand. */
export interface LoadedLanguageModel {
  source: ModelSource;
  /** [vocabSize, hiddenSize] */
  embedding: Tensor2D;
  layers: LayerTensors[];
  finalNorm: Tensor1D;
  /** [vocabSize, hiddenSize]; the embedding itself where they are tied. */
  head: Tensor2D;
  dispose(): void;
}

/** Uploads a model to the active backend; on an error nothing stays there. */
export async function loadLanguageModel(source: ModelSource): Promise<LoadedLanguageModel> {
  const { shape } = source;
  const layers: LayerTensors[] = [];
  const tables: (Tensor1D | Tensor2D)[] = [];
  const dispose = () => {
    for (const layer of layers) disposeLayer(layer);
    for (const table of tables) table.dispose();
  };
  const readTable = async (role: 'embedding' | 'languageModelHead') => {
    const values = await source.tensors.readFloat32(source.tensorName(role));
    const table = tensor2d(values, [shape.vocabSize, shape.hiddenSize]);
    tables.push(table);
    return table;
  };
  try {
    const embedding = await readTable('embedding');
    for (let layer = 0; layer < shape.numLayers; layer++) layers.push(await uploadLayer(source, layer));
    const finalNorm = tensor1d(await source.tensors.readFloat32(source.tensorName('finalNorm')));
    tables.push(finalNorm);
    const head = shape.tieWordEmbeddings ? embedding : await readTable('languageModelHead');
    return { source, embedding, layers, finalNorm, head, dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}
