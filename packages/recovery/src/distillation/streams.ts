import { type DecoderShape, throwIfAborted } from '@kvlr/core';
import { type DecoderTensors, decoderLayer, embed, type SequenceContext } from '@kvlr/runtime';
import { type Tensor1D, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import type { NativePasses } from '../native/native-passes.ts';
import { type FrozenLayers, residentLayers } from '../training/frozen-layers.ts';
import { yieldToHost } from '../training/schedule.ts';
import type { StandIn, TrainedLayer } from '../training/trained-layer.ts';
import type { MaskedWindow } from './pieces.ts';

export interface StreamRun {
  context: SequenceContext;
  /** Stand in for the model's own layers, all of them. */
  layers?: readonly TrainedLayer[];
  /** The model's own layers. Default: those that lie in its tensors. */
  frozen?: FrozenLayers | undefined;
  /** Runs the same layers in native code. */
  native?: NativePasses | undefined;
  signal?: AbortSignal | undefined;
}

/** The stream after one layer, differentiable in the stream and in the variables among the weights. Call inside tf.tidy. */
export function layerOutput(
  stream: Tensor2D,
  { weights, project }: StandIn,
  place: { shape: DecoderShape; layer: number; context: SequenceContext },
): Tensor2D {
  return decoderLayer(stream, weights, { ...place, project }).after;
}

/** The same of a layer that is unpacked and trained as a run says. */
function passLayer(model: DecoderTensors, layer: number, stream: Tensor2D, run: StreamRun): Promise<Tensor2D> {
  const { context, layers, frozen = residentLayers(model) } = run;
  const { shape } = model;
  return frozen.use(layer, (weights) =>
    tidy(() => layerOutput(stream, layers?.[layer]?.standIn(weights) ?? { weights }, { shape, layer, context })),
  );
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
 * `runStreams` of a model whose layers all lie on the device, at once: of token ids [batch * tokens]. Unless all are wanted, the last
 * stream alone. Call inside tf.tidy.
 */
export function streamsAtOnce(
  model: DecoderTensors,
  tokenIds: Tensor1D,
  { context, layers }: Pick<StreamRun, 'context' | 'layers'>,
  wanted: 'all' | 'last',
): Tensor2D[] {
  const { shape } = model;
  const positions = Array.from({ length: tokenIds.size }, (_, row) => row % context.tokens);
  let streams = [tidy(() => embed(tokenIds, positions, model))];
  for (const [layer, weights] of model.layers.entries()) {
    const before = streams.at(-1)!;
    const standIn = layers?.[layer]?.standIn(weights) ?? { weights };
    const after = tidy(() => layerOutput(before, standIn, { shape, layer, context }));
    if (wanted === 'last') before.dispose();
    streams = wanted === 'last' ? [after] : [...streams, after];
  }
  return streams;
}

/**
 * The streams before each layer and after the last, numLayers + 1 tensors [pieces * tokens, hiddenSize]. They are all that
 * is kept of the run: the backward pass computes each layer again (gradient checkpointing, Chen et al. 2016, arXiv 1604.06174).
 */
export async function runStreams(
  model: DecoderTensors,
  pieces: readonly MaskedWindow[],
  run: StreamRun,
): Promise<Tensor2D[]> {
  const { native, signal } = run;
  throwIfAborted(signal);
  if (native !== undefined) return native.streams(pieces);
  const streams = [embedTokens(model, pieces)];
  try {
    for (let layer = 0; layer < model.shape.numLayers; layer++) {
      throwIfAborted(signal);
      streams.push(await passLayer(model, layer, streams[layer]!, run));
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
  run: StreamRun,
): Promise<Tensor2D> {
  const { native, signal } = run;
  throwIfAborted(signal);
  if (native !== undefined) return native.lastStream(pieces);
  let stream = embedTokens(model, pieces);
  for (let layer = 0; layer < model.shape.numLayers; layer++) {
    const before = stream;
    try {
      throwIfAborted(signal);
      stream = await passLayer(model, layer, before, run);
    } finally {
      before.dispose();
    }
    await yieldToHost();
  }
  return stream;
}
