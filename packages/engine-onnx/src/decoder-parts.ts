import type { LayerActivations, TapName, TrainedValues } from '@kvlr/core';
import type { Placement } from './placement.ts';

/** What stands before the first layer. */
export interface OnnxEmbedding {
  /** The residual stream of a window before the first layer, [tokens, hiddenSize]. */
  stream(tokenIds: Int32Array, placement?: Placement): Promise<Float32Array>;
}

/** One layer of a decoder. */
export interface OnnxLayer {
  /** The residual stream of one window behind the layer, from that before it, [tokens, hiddenSize], and what the layer computed. */
  pass(
    stream: Float32Array,
    taps: readonly TapName[],
    placement?: Placement,
  ): Promise<{ after: Float32Array; activations: LayerActivations }>;
}

/** One layer of a decoder, some of whose matrices are in training. Streams are [tokens, hiddenSize]. */
export interface OnnxTrainedLayer {
  /** The stream behind the layer. */
  pass(stream: Float32Array, trained: TrainedValues): Promise<Float32Array>;
  /** From the gradient to the stream behind the layer: that to the stream before it, and those to the matrices. */
  gradients(
    stream: Float32Array,
    upstream: Float32Array,
    trained: TrainedValues,
  ): Promise<{ stream: Float32Array; matrices: TrainedValues }>;
}

/** What stands behind the last layer. */
export interface OnnxHead {
  /** Logits, [tokens, vocabSize], from the residual stream behind the last layer. */
  logits(stream: Float32Array): Promise<Float32Array>;
}

/** The head of a decoder in training, whose own numbers stay as they are. */
export interface OnnxTrainedHead extends OnnxHead {
  /**
   * The divergence KL(other || this), summed over tokens by their weights [tokens], and its gradient to the stream behind the last layer.
   *
   * @param target Logits of the other model, [tokens, vocabSize].
   */
  divergence(
    stream: Float32Array,
    target: Float32Array,
    weights: Float32Array,
  ): Promise<{ divergence: number; stream: Float32Array }>;
}
