import type { DecoderShape } from './decoder-shape.ts';

export type TapName = 'stream' | 'blockInput' | 'query' | 'key' | 'value' | 'attended' | 'blockOutput';

/**
 * What one layer's attention block computed for one window of T tokens, float32, row-major, one row per token.
 * Only the taps that were asked for are present. q, k, v are before RoPE, heads side by side: with their biases, and clipped and normed
 * where the decoder does so.
 */
export interface LayerActivations {
  layer: number;
  tokens: number;
  /** Residual stream before the block, [T, hiddenSize]. */
  stream?: Float32Array;
  /** Normed input of the projections, [T, hiddenSize]. */
  blockInput?: Float32Array;
  /** [T, numAttentionHeads * headDim] */
  query?: Float32Array;
  /** [T, numKeyValueHeads * headDim] */
  key?: Float32Array;
  /** [T, valueSlots * valueSlotWidth] */
  value?: Float32Array;
  /** Attention-weighted values per query head, before the output projection, [T, numAttentionHeads * valueSlotWidth]. */
  attended?: Float32Array;
  /**
   * What the block gives, [T, hiddenSize]: after the output projection, its norm and the residual factor, where there are any. The
   * stream after the block is stream + blockOutput, which post-norm decoders norm.
   */
  blockOutput?: Float32Array;
}

/** Port: runs windows of tokens through a model and shows each layer's activations. Positions start at 0 in each window. */
export interface ActivationSource {
  readonly shape: DecoderShape;
  forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => void | Promise<void>,
  ): Promise<void>;
}

/** Port: next-token logits of a window, teacher-forced, [T, vocabSize], positions from 0. */
export interface LogitSource {
  readonly vocabSize: number;
  /** Windows that may be asked for at once, each answered by a processor of its own. Default 1. */
  readonly concurrency?: number;
  logits(tokenIds: Int32Array): Promise<Float32Array>;
  /**
   * -log softmax(logits)[target] of each position, [T], in nats, float32: computed on the device, which then need not hand the logits over.
   * Absent where the host computes anyway.
   */
  losses?(tokenIds: Int32Array, targets: Int32Array): Promise<Float32Array>;
}
