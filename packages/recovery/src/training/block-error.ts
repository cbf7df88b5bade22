import { type DecoderShape, throwIfAborted } from '@kvlr/core';
import { createSequenceContext, type SequenceContext } from '@kvlr/runtime';
import { add, div, type Scalar, square, sub, sum, tidy } from '@tensorflow/tfjs-core';
import { attentionOutput } from '../attention/attention-output.ts';
import type { TrainableAttention } from '../attention/trainable-attention.ts';
import { type StreamPairs, stackWindows } from '../streams/stream-pairs.ts';

/** One block in training and what it is trained on. */
export interface BlockTask {
  attention: TrainableAttention;
  shape: DecoderShape;
  layer: number;
  train: StreamPairs;
  heldOut: StreamPairs;
  signal?: AbortSignal;
}

/**
 * Squared distance between the stream after the block and the original one over a batch of windows, as a share of the
 * energy of what the original block adds. Differentiable in the projections; call inside tf.tidy.
 */
export function blockError(task: BlockTask, pairs: StreamPairs, batch: number[], context: SequenceContext): Scalar {
  const { attention, shape, layer } = task;
  const stream = stackWindows(pairs.inputs, batch, shape.hiddenSize);
  const target = stackWindows(pairs.targets, batch, shape.hiddenSize);
  const output = attentionOutput(stream, attention.weights, { shape, layout: shape.layers[layer]!, context });
  return div(sum(square(sub(add(stream, output), target))), pairs.energy * batch.length);
}

/** The block's error over all held-out windows. */
export async function heldOutError(task: BlockTask): Promise<number> {
  const { shape, heldOut, signal } = task;
  const tokens = heldOut.inputs[0]!.length / shape.hiddenSize;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  let total = 0;
  try {
    for (const window of heldOut.inputs.keys()) {
      throwIfAborted(signal);
      const error = tidy(() => blockError(task, heldOut, [window], context));
      total += (await error.data())[0]!;
      error.dispose();
    }
  } finally {
    context.dispose();
  }
  return total / heldOut.inputs.length;
}
