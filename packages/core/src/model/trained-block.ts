import type { TensorRole } from './decoder-tensors.ts';

/** Trained tensors of a layer by their roles, row by row; matrices [in, out]. */
export type TrainedValues = ReadonlyMap<TensorRole, Float32Array>;

/** What an attention block is given and is to reach in one window. */
export interface BlockWindow {
  /** The stream before the block, and what the one behind it is to be, [tokens, hiddenSize]. */
  stream: Float32Array;
  target: Float32Array;
  /** What a squared error of each token counts, [tokens]. */
  weights: Float32Array;
}

/**
 * Port: one layer's attention block in training, forwards and backwards. Errors are weighted sums of squares over the tokens of a window
 * and the stream's numbers. Calls come one after another.
 */
export interface TrainedBlock {
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
