import type { DecoderShape } from '@kvlr/core';
import { add, type Tensor2D } from '@tensorflow/tfjs-core';
import { type AttentionBlockSettings, type AttentionStages, attentionBlock } from './attention-block.ts';
import { activate, gated, normByRole, type Project, projectWith, scaled } from './operations.ts';
import type { LayerTensors } from './weights.ts';

/** One layer of a decoder: the stream after it, and what its attention block computed. Call inside tf.tidy. */
export function decoderLayer(
  stream: Tensor2D,
  weights: LayerTensors,
  settings: AttentionBlockSettings,
): { after: Tensor2D; stages: AttentionStages } {
  const stages = attentionBlock(stream, weights, settings);
  const between = streamAfterAttention(stream, stages.blockOutput, weights, settings.shape);
  return { after: streamAfterFeedForward(stream, between, weights, settings.shape, settings.project), stages };
}

/** The stream with what the attention block gives: normed in post-norm decoders. */
export function streamAfterAttention(
  stream: Tensor2D,
  blockOutput: Tensor2D,
  weights: LayerTensors,
  shape: DecoderShape,
): Tensor2D {
  const sum: Tensor2D = add(residual(stream, weights, shape, 'attentionNorm'), blockOutput);
  return shape.blocks.after === 'stream' ? normByRole(sum, shape, weights, 'attentionOutputNorm') : sum;
}

/** The stream after the layer, from those before it and after its attention. Parallel blocks both read the one before. */
export function streamAfterFeedForward(
  stream: Tensor2D,
  between: Tensor2D,
  weights: LayerTensors,
  shape: DecoderShape,
  project?: Project,
): Tensor2D {
  const read = shape.blocks.parallel ? stream : between;
  const kept = residual(between, weights, shape, 'feedForwardNorm');
  const sum: Tensor2D = add(kept, feedForwardBlock(read, weights, shape, project));
  return shape.blocks.after === 'stream' ? normByRole(sum, shape, weights, 'feedForwardOutputNorm') : sum;
}

/** What a block's result is added to. */
function residual(
  stream: Tensor2D,
  weights: LayerTensors,
  shape: DecoderShape,
  role: 'attentionNorm' | 'feedForwardNorm',
): Tensor2D {
  return shape.blocks.residual === 'normed' ? normByRole(stream, shape, weights, role) : stream;
}

/**
 * Feed-forward block of stream [rows, hiddenSize], gated (Shazeer 2020) or not, differentiable in the stream and in every weight.
 * The result is to be added to the stream. Call inside tf.tidy.
 */
export function feedForwardBlock(
  stream: Tensor2D,
  weights: LayerTensors,
  shape: DecoderShape,
  project: Project = projectWith(weights),
): Tensor2D {
  const { blocks, feedForward } = shape;
  const { before, after, residualScale } = blocks;
  const normRole = before === 'shared' ? 'attentionNorm' : 'feedForwardNorm';
  const input = before === 'none' ? stream : normByRole(stream, shape, weights, normRole);
  const { activation } = feedForward;
  const inner = feedForward.gated
    ? gated(project(input, 'gate'), project(input, 'up'), activation)
    : activate(project(input, 'up'), activation);
  const output = project(inner, 'down');
  return scaled(
    after === 'branch' ? normByRole(output, shape, weights, 'feedForwardOutputNorm') : output,
    residualScale,
  );
}
