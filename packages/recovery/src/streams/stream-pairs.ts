import { type Tensor2D, tensor2d } from '@tensorflow/tfjs-core';

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

/** The chosen windows one under another on the device, [windows * tokens, hiddenSize]. */
export function stackWindows(windows: readonly Float32Array[], chosen: number[], hiddenSize: number): Tensor2D {
  const length = windows[0]!.length;
  const values = new Float32Array(chosen.length * length);
  chosen.forEach((index, place) => {
    values.set(windows[index]!, place * length);
  });
  return tensor2d(values, [values.length / hiddenSize, hiddenSize]);
}
