import { type DecoderShape, throwIfAborted } from '@kvlr/core';
import { createSequenceContext, feedForwardBlock, type LayerTensors } from '@kvlr/runtime';
import { add, type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { attentionOutput } from '../attention/attention-output.ts';

export interface AdvanceSettings {
  shape: DecoderShape;
  layer: number;
  signal?: AbortSignal;
}

/** The streams after the layer's attention block: each window's [tokens, hiddenSize] with the block's output added. */
export async function advanceThroughAttention(
  streams: readonly Float32Array[],
  weights: LayerTensors,
  { shape, layer, signal }: AdvanceSettings,
): Promise<Float32Array[]> {
  const layout = shape.layers[layer]!;
  const tokens = streams[0]!.length / shape.hiddenSize;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  try {
    return await mapStreams(streams, shape.hiddenSize, signal, (stream) =>
      add(stream, attentionOutput(stream, weights, { shape, layout, context })),
    );
  } finally {
    context.dispose();
  }
}

/** The streams after the layer's feed-forward block. */
export function advanceThroughFeedForward(
  streams: readonly Float32Array[],
  weights: LayerTensors,
  { shape, signal }: AdvanceSettings,
): Promise<Float32Array[]> {
  return mapStreams(streams, shape.hiddenSize, signal, (stream) =>
    add(stream, feedForwardBlock(stream, weights, shape)),
  );
}

async function mapStreams(
  streams: readonly Float32Array[],
  hiddenSize: number,
  signal: AbortSignal | undefined,
  advance: (stream: Tensor2D) => Tensor2D,
): Promise<Float32Array[]> {
  const advanced: Float32Array[] = [];
  for (const stream of streams) {
    throwIfAborted(signal);
    const result = tidy(() => advance(tensor2d(stream, [stream.length / hiddenSize, hiddenSize])));
    advanced.push((await result.data()) as Float32Array);
    result.dispose();
  }
  return advanced;
}
