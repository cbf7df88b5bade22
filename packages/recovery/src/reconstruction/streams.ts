import { type DecoderShape, globalTensors, type ModelSource, throwIfAborted } from '@kvlr/core';
import {
  attentionBlock,
  createSequenceContext,
  disposeTensors,
  embed,
  type LayerTensors,
  streamAfterAttention,
  streamAfterFeedForward,
  uploadTensors,
} from '@kvlr/runtime';
import { type Tensor2D, tensor1d, tensor2d, tidy } from '@tensorflow/tfjs-core';
import type { WholeProjections } from '../training/whole-projections.ts';

/** What a block is to learn: from the compressed model's stream before it to the original stream after it. */
export interface StreamPairs {
  /** [tokens, hiddenSize] per window. */
  inputs: Float32Array[];
  targets: Float32Array[];
  /** Mean over windows of the sum of squares of the original block's output: errors are given as shares of it. */
  energy: number;
}

/** Pairs of the windows from `start` to `end`. `before` and `targets` are the original stream around the block. */
export function pairStreams(
  streams: { before: Float32Array[]; targets: Float32Array[]; compressed: Float32Array[] },
  start: number,
  end: number,
): StreamPairs {
  let energy = 0;
  for (let window = start; window < end; window++) {
    const [from, to] = [streams.before[window]!, streams.targets[window]!];
    for (let index = 0; index < to.length; index++) energy += (to[index]! - from[index]!) ** 2;
  }
  return {
    inputs: streams.compressed.slice(start, end),
    targets: streams.targets.slice(start, end),
    energy: energy / (end - start),
  };
}

/** Below it float32 knows no shares any more. */
const LEAST_ENERGY = 1e-30;

/** What errors are shares of, by the energy of the original block; of a block that adds nothing, what is added in its place. */
export function unitOfError(energy: number): number {
  return energy > LEAST_ENERGY ? energy : 1;
}

/** The chosen windows one under another on the device, [windows * tokens, hiddenSize]. */
export function stackWindows(windows: readonly Float32Array[], chosen: number[], hiddenSize: number): Tensor2D {
  const length = windows[0]!.length;
  const values = new Float32Array(chosen.length * length);
  chosen.forEach((index, place) => {
    values.set(windows[index]!, place * length);
  });
  return tensor2d(values, [values.length / hiddenSize, hiddenSize]);
}

/** The residual stream before the first layer, [tokens, hiddenSize] per window. */
export async function embedWindows(model: ModelSource, windows: readonly Int32Array[]): Promise<Float32Array[]> {
  const { shape } = model;
  const globals = await uploadTensors(
    model,
    globalTensors(shape).filter(({ part }) => part === 'embedding'),
  );
  try {
    const streams: Float32Array[] = [];
    for (const ids of windows) {
      const stream = tidy(() => embed(tensor1d(ids, 'int32'), Array.from(ids.keys()), { shape, globals }));
      streams.push((await stream.data()) as Float32Array);
      stream.dispose();
    }
    return streams;
  } finally {
    disposeTensors(globals);
  }
}

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
  const tokens = streams[0]!.length / shape.hiddenSize;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  try {
    return await mapStreams([streams], shape, signal, (stream) =>
      streamAfterAttention(
        stream!,
        attentionBlock(stream!, weights, { shape, layer, context }).blockOutput,
        weights,
        shape,
      ),
    );
  } finally {
    context.dispose();
  }
}

/** The streams after the layer's feed-forward block, from those before the layer and after its attention. */
export function advanceThroughFeedForward(
  streams: { before: readonly Float32Array[]; between: readonly Float32Array[] },
  weights: LayerTensors,
  { shape, signal }: AdvanceSettings,
): Promise<Float32Array[]> {
  return mapStreams([streams.before, streams.between], shape, signal, (before, between) =>
    streamAfterFeedForward(before!, between!, weights, shape),
  );
}

/** What `advance` makes of each window's streams on the device. */
async function mapStreams(
  streams: readonly (readonly Float32Array[])[],
  { hiddenSize }: DecoderShape,
  signal: AbortSignal | undefined,
  advance: (...streams: Tensor2D[]) => Tensor2D,
): Promise<Float32Array[]> {
  const advanced: Float32Array[] = [];
  for (const window of streams[0]!.keys()) {
    throwIfAborted(signal);
    const result = tidy(() =>
      advance(...streams.map((each) => tensor2d(each[window]!, [each[window]!.length / hiddenSize, hiddenSize]))),
    );
    advanced.push((await result.data()) as Float32Array);
    result.dispose();
  }
  return advanced;
}

/** One block in training and what it is trained on. */
export interface BlockTask {
  attention: WholeProjections;
  shape: DecoderShape;
  layer: number;
  train: StreamPairs;
  heldOut: StreamPairs;
  signal?: AbortSignal;
}
