import type { Activation, DecoderShape } from '@kvlr/core';
import type { Activation as KernelActivation } from '@kvlr/kernels';

/** The activations that the fused feed-forward has, as kernels name them. */
export const kernelActivations: Partial<Record<Activation, KernelActivation>> = {
  silu: 'silu',
  gelu: 'gelu',
  gelu_pytorch_tanh: 'gelu-tanh',
};

/**
 * Whether the fused kernels compute this decoder's blocks: RMSNorm with a scale before each, nothing behind them or between them and
 * the stream; a gated feed-forward; nothing between the projections and the positions. Other decoders run on stock ops around packed
 * matrices. `fusedAttentionFits` says the same of a layer's attention.
 */
export function fusedKernelsFit(shape: DecoderShape): boolean {
  const { attention, feedForward, blocks, head, embedding, headDim } = shape;
  const plainNorm = (norm: DecoderShape['head']['norm']) => norm?.kind === 'rms' && norm.weight && !norm.bias;
  const plainAttention = attention.clip === undefined && attention.queryKeyNorm === undefined;
  const plainScale = Math.abs(attention.scoreScale * Math.sqrt(headDim) - 1) < 1e-12;
  const plainBlocks =
    blocks.before === 'each' &&
    blocks.after === 'none' &&
    !blocks.parallel &&
    blocks.residual === 'stream' &&
    blocks.residualScale === 1;
  const plainEnds =
    embedding.width === shape.hiddenSize &&
    !embedding.norm &&
    !embedding.learnedPositions &&
    !head.bias &&
    head.scale === 1 &&
    head.softCap === undefined;
  return (
    plainNorm(blocks.norm) === true &&
    plainNorm(head.norm) === true &&
    plainAttention &&
    plainScale &&
    plainBlocks &&
    plainEnds &&
    feedForward.gated &&
    feedForward.activation in kernelActivations
  );
}
