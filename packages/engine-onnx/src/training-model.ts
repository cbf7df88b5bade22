import { type ModelSource, type RunControl, type TensorRole, throwIfAborted } from '@kvlr/core';
import {
  OnnxDecoder,
  type OnnxSettings,
  type OnnxTrainedBlock,
  type OnnxTrainedLayer,
  type TrainedMatrices,
} from './onnx-decoder.ts';

/** A decoder in training: its layers forwards and backwards, in float32. Calls come one after another. */
export interface OnnxTrainingModel {
  /** The streams of a window before each layer and behind the last, [tokens, hiddenSize]. */
  streams(tokenIds: Int32Array, trained: readonly TrainedMatrices[]): Promise<Float32Array[]>;
  /** Gradients through one layer: see `OnnxTrainedLayer`. */
  gradients(
    layer: number,
    ...given: Parameters<OnnxTrainedLayer['gradients']>
  ): ReturnType<OnnxTrainedLayer['gradients']>;
  /** Frees weights and sessions. */
  dispose(): void;
}

/**
 * Loads a decoder of any family and cache layout for training on ONNX Runtime: 4 bytes for each number that is not trained.
 *
 * @param roles Matrices that each layer trains, by layer: their values come with every call. Of a model that is only run, none.
 * @throws KvlrError what `OnnxDecoder.open` and its `loadTrainedLayer` throw, 'aborted'.
 */
export async function loadOnnxTrainingModel(
  source: ModelSource,
  roles: readonly (readonly TensorRole[])[],
  given: OnnxSettings & Pick<RunControl, 'signal'> = {},
): Promise<OnnxTrainingModel> {
  const { signal, ...settings } = given;
  const decoder = await OnnxDecoder.open(source, settings);
  const embedding = await decoder.loadEmbedding();
  const layers: OnnxTrainedLayer[] = [];
  for (let layer = 0; layer < source.shape.numLayers; layer++) {
    throwIfAborted(signal);
    layers.push(await decoder.loadTrainedLayer(layer, roles[layer] ?? []));
  }
  return {
    async streams(tokenIds, trained) {
      const streams = [await embedding.stream(tokenIds)];
      for (const [index, layer] of layers.entries()) {
        streams.push(await layer.pass(streams[index]!, trained[index] ?? new Map()));
      }
      return streams;
    },
    gradients: (layer, ...inputs) => layers[layer]!.gradients(...inputs),
    dispose: () => decoder.close(),
  };
}

/**
 * Loads one layer's attention for training on ONNX Runtime; the caller disposes it.
 *
 * @param roles What is trained: its values come with every call.
 * @throws KvlrError what `OnnxDecoder.open` and its `loadTrainedBlock` throw.
 */
export async function loadOnnxTrainedBlock(
  source: ModelSource,
  layer: number,
  roles: readonly TensorRole[],
  settings: OnnxSettings = {},
): Promise<OnnxTrainedBlock & { dispose(): void }> {
  const decoder = await OnnxDecoder.open(source, settings);
  return { ...(await decoder.loadTrainedBlock(layer, roles)), dispose: () => decoder.close() };
}
