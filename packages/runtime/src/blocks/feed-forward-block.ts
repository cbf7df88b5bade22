import type { DecoderShape } from '@kvlr/core';
import { mul, type Tensor2D } from '@tensorflow/tfjs-core';
import { activate } from './activate.ts';
import type { FeedForwardTensors } from './layer-weights.ts';
import { project } from './project.ts';
import { rmsNorm } from './rms-norm.ts';

/**
 * Gated feed-forward block (Shazeer 2020) of stream [rows, hiddenSize], differentiable in the stream and in every weight.
 * The result is to be added to the stream. Call inside tf.tidy.
 */
export function feedForwardBlock(
  stream: Tensor2D,
  weights: FeedForwardTensors,
  shape: Pick<DecoderShape, 'hiddenActivation' | 'rmsNormEpsilon'>,
): Tensor2D {
  const blockInput = rmsNorm(stream, weights.feedForwardNorm, shape.rmsNormEpsilon);
  const gate = activate(project(blockInput, weights.gate, weights.gateBias), shape.hiddenActivation);
  const gated: Tensor2D = mul(gate, project(blockInput, weights.up, weights.upBias));
  return project(gated, weights.down, weights.downBias);
}
