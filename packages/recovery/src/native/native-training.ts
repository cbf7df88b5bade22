import type { ModelSource, TensorRole, TrainedBlock, TrainedValues } from '@kvlr/core';

/**
 * Port: native code that runs layers forwards and backwards. `@kvlr/engine-onnx` has it for Node; without it, and in browsers, TensorFlow.js
 * does the same. Streams are [tokens, hiddenSize].
 */
export interface NativeTraining {
  /**
   * @param roles What each layer trains, by layer; nothing of a model that is only run.
   * @throws KvlrError 'unsupported-feature' for layers whose gradients it does not have.
   */
  load(
    source: ModelSource,
    roles: readonly (readonly TensorRole[])[],
    control: { signal?: AbortSignal | undefined },
  ): Promise<NativeTrainingModel>;
  /**
   * One layer's attention block.
   *
   * @param roles What is trained.
   * @throws KvlrError 'unsupported-feature' for a block whose gradients it does not have.
   */
  loadBlock(source: ModelSource, layer: number, roles: readonly TensorRole[]): Promise<TrainedBlock>;
}

export interface NativeTrainingModel {
  /** The streams of a text before each layer and behind the last. */
  streams(tokenIds: Int32Array, trained: readonly TrainedValues[]): Promise<Float32Array[]>;
  /** From the gradient to the stream behind a layer: that to the stream before it, and those to what is trained. */
  gradients(
    layer: number,
    stream: Float32Array,
    upstream: Float32Array,
    trained: TrainedValues,
  ): Promise<{ stream: Float32Array; matrices: TrainedValues }>;
  /** Logits of some tokens, [tokens, vocabSize], from their stream behind the last layer. */
  logits(stream: Float32Array): Promise<Float32Array>;
  /**
   * The divergence KL(other || this) from another model's logits [tokens, vocabSize], summed over tokens by their weights [tokens], and its
   * gradient to the stream behind the last layer.
   */
  divergence(
    stream: Float32Array,
    target: Float32Array,
    weights: Float32Array,
  ): Promise<{ divergence: number; stream: Float32Array }>;
  dispose(): void;
}
