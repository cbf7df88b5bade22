import { throwIfAborted } from '@kvlr/core';
import { type DecoderTensors, decoderLayer, embed, type SequenceContext } from '@kvlr/runtime';
import { type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import type { NativePasses } from '../native/native-passes.ts';
import { yieldToHost } from '../training/schedule.ts';
import type { TrainedLayer } from '../training/trained-layer.ts';
import type { MaskedWindow } from './pieces.ts';

export interface StreamRun {
  context: SequenceContext;
  /** Stand in for the model's own layers, all of them. */
  layers?: readonly TrainedLayer[];
  /** Runs the same layers in native code. */
  native?: NativePasses | undefined;
  signal?: AbortSignal | undefined;
}

/** Stands in for a layer's own weights. */
type StandIn = Pick<TrainedLayer, 'weights' | 'project'>;

/** The stream after one layer, differentiable in the stream and in the variables of what stands in. Call inside tf.tidy. */
export function layerOutput(
  stream: Tensor2D,
  { shape, layers }: DecoderTensors,
  layer: number,
  context: SequenceContext,
  standIn?: StandIn,
): Tensor2D {
  const weights = standIn?.weights ?? layers[layer]!;
  return decoderLayer(stream, weights, { shape, layer, context, project: standIn?.project }).after;
}

/** The streams before the first layer, pieces one under another, [pieces * tokens, hiddenSize]. */
export function embedTokens(model: DecoderTensors, pieces: readonly Pick<MaskedWindow, 'tokenIds'>[]): Tensor2D {
  return tidy(() => {
    const ids = pieces.flatMap(({ tokenIds }) => [...tokenIds]);
    const positions = pieces.flatMap(({ tokenIds }) => [...tokenIds.keys()]);
    return embed(tensor1d(ids, 'int32'), positions, model);
  });
}

/**
 * The streams before each layer and after the last, numLayers + 1 tensors [pieces * tokens, hiddenSize]. They are all that
 * is kept of the run: the backward pass computes each layer again (gradient checkpointing, Chen et al. 2016, arXiv 1604.06174).
 */
export async function runStreams(
  model: DecoderTensors,
  pieces: readonly MaskedWindow[],
  { context, layers, native, signal }: StreamRun,
): Promise<Tensor2D[]> {
  throwIfAborted(signal);
  if (native !== undefined) return native.streams(pieces);
  const streams = [embedTokens(model, pieces)];
  try {
    for (const layer of model.layers.keys()) {
      throwIfAborted(signal);
      const stream = streams[layer]!;
      streams.push(tidy(() => layerOutput(stream, model, layer, context, layers?.[layer])));
      await yieldToHost();
    }
    return streams;
  } catch (error) {
    for (const stream of streams) stream.dispose();
    throw error;
  }
}

/** The stream after the last layer; of the others there is one at a time. */
export async function lastStream(
  model: DecoderTensors,
  pieces: readonly MaskedWindow[],
  { context, layers, native, signal }: StreamRun,
): Promise<Tensor2D> {
  throwIfAborted(signal);
  if (native !== undefined) return native.lastStream(pieces);
  let stream = embedTokens(model, pieces);
  for (const layer of model.layers.keys()) {
    const before = stream;
    try {
      throwIfAborted(signal);
      stream = tidy(() => layerOutput(before, model, layer, context, layers?.[layer]));
    } finally {
      before.dispose();
    }
    await yieldToHost();
  }
  return stream;
}
