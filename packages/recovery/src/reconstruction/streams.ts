import { type DecoderShape, globalTensors, type ModelSource, throwIfAborted } from '@kvlr/core';
import {
  attentionBlock,
  createSequenceContext,
  disposeTensors,
  embed,
  floats,
  type LayerTensors,
  streamAfterAttention,
  streamAfterFeedForward,
  uploadTensors,
  WindowPass,
} from '@kvlr/runtime';
import { type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import type { StreamPairs } from './block-passes.ts';

/** Pairs of the windows from `start` to `end`. `before` and `targets` are the original stream around the block. */
export function pairStreams(
  streams: { before: Float32Array[]; targets: Float32Array[]; compressed: Float32Array[] },
  start: number,
  end: number,
  hiddenSize: number,
): StreamPairs {
  const targets = streams.targets.slice(start, end);
  const weights = targets.map((target) => tokenWeights(target, hiddenSize));
  let energy = 0;
  targets.forEach((target, place) => {
    energy += weightedDistance(target, streams.before[start + place]!, weights[place]!);
  });
  const unit = unitOfError(energy / targets.length, targets[0]!.length);
  return { inputs: streams.compressed.slice(start, end), targets, weights, unit };
}

/**
 * What an error of each token counts: the inverse of the mean square of its stream, as the norm in front of the next block sees it.
 * Models have tokens, the first above all, whose stream is a thousand times as long as that of others; unweighted, errors of these
 * few outweigh all others, and no norm lets them through.
 *
 * @param stream [tokens, hiddenSize].
 * @returns [tokens]; 0 where the stream is zero or no number.
 */
export function tokenWeights(stream: Float32Array, hiddenSize: number): Float32Array {
  const weights = new Float32Array(stream.length / hiddenSize);
  for (let token = 0; token < weights.length; token++) {
    const meanSquare = energyOf(stream.subarray(token * hiddenSize, (token + 1) * hiddenSize)) / hiddenSize;
    const weight = 1 / meanSquare;
    weights[token] = weight > 0 && weight < 3e38 ? weight : 0;
  }
  return weights;
}

/** Sum over tokens of weight times squared distance: streams [tokens, hiddenSize], `weights` [tokens]. */
function weightedDistance(left: Float32Array, right: Float32Array, weights: Float32Array): number {
  const width = left.length / weights.length;
  let energy = 0;
  for (let token = 0; token < weights.length; token++) {
    let squares = 0;
    for (let place = token * width; place < (token + 1) * width; place++)
      squares += (left[place]! - right[place]!) ** 2;
    energy += weights[token]! * squares;
  }
  return energy;
}

function energyOf(values: Float32Array): number {
  let energy = 0;
  for (let index = 0; index < values.length; index++) energy += values[index]! ** 2;
  return energy;
}

/** A block that adds less than this share of the stream's energy adds nothing that float32 could tell. */
const LEAST_SHARE = 1e-12;

/**
 * What errors are shares of: the weighted energy of what the original block adds to a window, or, where it adds nothing (a dead layer),
 * that of the stream. `numbers` of a window, tokens * hiddenSize, is the latter, since weights make the mean square of each token 1.
 */
function unitOfError(energy: number, numbers: number): number {
  return energy > LEAST_SHARE * numbers ? energy : numbers;
}

/** The residual stream before the first layer, [tokens, hiddenSize] per window. */
export async function embedWindows(model: ModelSource, windows: readonly Int32Array[]): Promise<Float32Array[]> {
  const { shape } = model;
  const globals = await uploadTensors(
    model,
    globalTensors(shape).filter(({ part }) => part === 'embedding'),
  );
  try {
    return await readInTurn(windows, async (ids) => {
      const stream = tidy(() => embed(tensor1d(ids, 'int32'), Array.from(ids.keys()), { shape, globals }));
      try {
        return (await stream.data()) as Float32Array;
      } finally {
        stream.dispose();
      }
    });
  } finally {
    disposeTensors(globals);
  }
}

export interface AdvanceSettings {
  shape: DecoderShape;
  layer: number;
  signal?: AbortSignal;
}

/** The streams of windows around the second block of a layer. */
export interface StreamsAround {
  /** Behind the layer's attention. */
  between: Float32Array[];
  /** Behind the layer. */
  after: Float32Array[];
}

/** Takes the streams of windows, [tokens, hiddenSize] each, through a layer. */
export async function advanceThroughLayer(
  streams: readonly Float32Array[],
  weights: LayerTensors,
  { shape, layer, signal }: AdvanceSettings,
): Promise<StreamsAround> {
  const tokens = streams[0]!.length / shape.hiddenSize;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  const pass = new WindowPass({
    inputs: [floats(tokens, shape.hiddenSize)],
    body: (before) => {
      const stream = before as Tensor2D;
      const { blockOutput } = attentionBlock(stream, weights, { shape, layer, context });
      const between = streamAfterAttention(stream, blockOutput, weights, shape);
      return [between, streamAfterFeedForward(stream, between, weights, shape)];
    },
  });
  try {
    const passed = await readInTurn(streams, (stream) => {
      throwIfAborted(signal);
      return pass.run(stream);
    });
    return { between: passed.map(([between]) => between!), after: passed.map(([, after]) => after!) };
  } finally {
    pass.dispose();
    context.dispose();
  }
}

/** Results that are computed while earlier ones are read. */
const READ_AT_ONCE = 4;

/** What `compute` makes of each item; a few are under way at once, so that a GPU does not wait for the host. */
async function readInTurn<Item, Result>(
  items: readonly Item[],
  compute: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Promise<Result>[] = [];
  try {
    for (const [index, item] of items.entries()) {
      await results[index - READ_AT_ONCE];
      const result = compute(item);
      // It is heard of below, if not in between.
      result.catch(() => undefined);
      results.push(result);
    }
  } catch (error) {
    await Promise.allSettled(results);
    throw error;
  }
  return Promise.all(results);
}
