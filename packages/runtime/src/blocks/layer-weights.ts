import type { Tensor1D, Tensor2D, Tensor3D } from '@tensorflow/tfjs-core';

/** Weights of one attention block on the device. Matrices are [in, out], so that a block computes x W without transposing. */
export interface AttentionTensors {
  /** Scale of the norm before the block, [hiddenSize]. */
  attentionNorm: Tensor1D;
  /** [hiddenSize, numAttentionHeads * headDim] */
  query: Tensor2D;
  /** [hiddenSize, keyHeads * headDim]; the source's KV heads under latent keys, the latents under rebuilt ones. */
  key: Tensor2D;
  /** [hiddenSize, valueSlots * valueSlotWidth] */
  value: Tensor2D;
  /** [numAttentionHeads * valueSlotWidth, hiddenSize] */
  output: Tensor2D;
  queryBias?: Tensor1D;
  keyBias?: Tensor1D;
  valueBias?: Tensor1D;
  outputBias?: Tensor1D;
  /** Latent keys only: rotated keys of all heads to slots, [keyHeads * headDim, keySlots * keySlotWidth]. */
  latentKeyEncoder?: Tensor2D;
  /** Latent keys only: rotated query to its slot, [numAttentionHeads, headDim, keySlotWidth]. */
  latentQueryEncoder?: Tensor3D;
  /** Rebuilt keys only: a slot to the keys of its heads, [keySlots, keySlotWidth, heads of the slot * headDim]. */
  rebuiltKeyDecoder?: Tensor3D;
}

/** Weights of one gated feed-forward block, matrices [in, out]. */
export interface FeedForwardTensors {
  /** Scale of the norm before the block, [hiddenSize]. */
  feedForwardNorm: Tensor1D;
  gate: Tensor2D;
  up: Tensor2D;
  down: Tensor2D;
  gateBias?: Tensor1D;
  upBias?: Tensor1D;
  downBias?: Tensor1D;
}

/** One decoder layer on the device. */
export type LayerTensors = AttentionTensors & FeedForwardTensors;
