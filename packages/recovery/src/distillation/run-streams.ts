import { type DecoderShape, throwIfAborted } from '@kvlr/core';
import { feedForwardBlock, type LayerTensors, type SequenceContext } from '@kvlr/runtime';
import { add, gather, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { attentionOutput } from '../attention/attention-output.ts';
import type { TrainedAttention } from '../attention/trained-attention.ts';
import { yieldToHost } from '../training/yield-to-host.ts';
import type { LoadedLanguageModel } from './loaded-language-model.ts';

export interface LayerRun {
  shape: DecoderShape;
  layer: number;
  context: SequenceContext;
  /** Stands in for the layer's own attention. */
  attention?: Pick<TrainedAttention, 'weights' | 'adapters'>;
}

/** The stream after one layer, differentiable in the stream and in the attention's variables. Call inside tf.tidy. */
export function layerOutput(stream: Tensor2D, weights: LayerTensors, run: LayerRun): Tensor2D {
  const { shape, layer, context, attention } = run;
  const settings = { shape, layout: shape.layers[layer]!, context, adapters: attention?.adapters };
  const between: Tensor2D = add(stream, attentionOutput(stream, attention?.weights ?? weights, settings));
  return add(between, feedForwardBlock(between, weights, shape));
}

/** Rows of the embedding table, windows one under another, [windows * tokens, hiddenSize]. */
export function embedTokens({ embedding }: LoadedLanguageModel, windows: readonly Int32Array[]): Tensor2D {
  return tidy(() =>
    gather(
      embedding,
      tensor1d(
        windows.flatMap((window) => [...window]),
        'int32',
      ),
    ),
  );
}

export interface StreamRun {
  context: SequenceContext;
  /** Stand in for the model's own attention, one for each layer. */
  attentions?: readonly TrainedAttention[];
  signal?: AbortSignal;
}

/**
 * The streams before each layer and after the last, numLayers + 1 tensors [windows * tokens, hiddenSize]. They are all that
 * is kept of the run: the backward pass computes each layer again (gradient checkpointing, Chen et al. 2016).
 */
export async function runStreams(
  model: LoadedLanguageModel,
  windows: readonly Int32Array[],
  { context, attentions, signal }: StreamRun,
): Promise<Tensor2D[]> {
  const { shape } = model.source;
  const streams = [embedTokens(model, windows)];
  try {
    for (const [layer, weights] of model.layers.entries()) {
      throwIfAborted(signal);
      const stream = streams[layer]!;
      streams.push(tidy(() => layerOutput(stream, weights, { shape, layer, context, attention: attentions?.[layer] })));
      await yieldToHost();
    }
    return streams;
  } catch (error) {
    for (const stream of streams) stream.dispose();
    throw error;
  }
}

/** The stream after the last layer; the others are freed. */
export async function lastStream(
  model: LoadedLanguageModel,
  windows: readonly Int32Array[],
  run: StreamRun,
): Promise<Tensor2D> {
  const streams = await runStreams(model, windows, run);
  for (const stream of streams.slice(0, -1)) stream.dispose();
  return streams.at(-1)!;
}
