import type { ModelSource, TensorRole } from '@kvlr/core';

/** Trained tensors of a layer by their roles, row by row; matrices [in, out]. */
export type TrainedValues = ReadonlyMap<TensorRole, Float32Array>;

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
  loadBlock(source: ModelSource, layer: number, roles: readonly TensorRole[]): Promise<NativeBlock>;
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
  dispose(): void;
}

/** What an attention block is given and is to reach in one window. */
export interface BlockWindow {
  /** The stream before the block, and what the one behind it is to be. */
  stream: Float32Array;
  target: Float32Array;
  /** What a squared error of each token counts, [tokens]. */
  weights: Float32Array;
}

/** Errors are weighted sums of squares over the tokens of a window and the stream's numbers. Calls come one after another. */
export interface NativeBlock {
  error(window: BlockWindow, trained: TrainedValues): Promise<number>;
  /** The error and its gradients to what is trained. */
  gradients(window: BlockWindow, trained: TrainedValues): Promise<{ error: number; matrices: TrainedValues }>;
  /**
   * Sums over tokens, weighted: attended values, times the residual factor, with themselves, [width, width], and with what the stream
   * behind the block lacks, [width, hiddenSize]; and the error.
   */
  moments(
    window: BlockWindow,
    trained: TrainedValues,
  ): Promise<{ gram: Float32Array; lack: Float32Array; energy: number }>;
  dispose(): void;
}
