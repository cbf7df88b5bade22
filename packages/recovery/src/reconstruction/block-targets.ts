import type { StreamStore } from '@kvlr/core';
import type { StreamPairs } from './block-passes.ts';

/** What one block is to learn, gathered window by window: of the stream before it no more than a sum is kept. */
export class BlockTargets {
  private readonly weights: Float32Array[] = [];
  private readonly energies: number[] = [];

  /** @param targets Takes the streams that the block is to reach. */
  constructor(
    private readonly hiddenSize: number,
    private readonly targets: StreamStore,
  ) {}

  /** The original stream around the block, [tokens, hiddenSize] each. */
  async add(place: number, before: Float32Array, target: Float32Array): Promise<void> {
    const weights = tokenWeights(target, this.hiddenSize);
    this.weights[place] = weights;
    this.energies[place] = weightedDistance(target, before, weights);
    await this.targets.write(place, target);
  }

  /** Pairs of the windows from `start` to `end`; `inputs` has the compressed model's streams before the block. */
  pairs(inputs: StreamStore, start = 0, end = this.weights.length): StreamPairs {
    const count = end - start;
    const energy = this.energies.slice(start, end).reduce((sum, each) => sum + each, 0);
    const unit = unitOfError(energy / count, this.weights[start]!.length * this.hiddenSize);
    const window = async (place: number) => ({
      stream: await inputs.read(start + place),
      target: await this.targets.read(start + place),
      weights: this.weights[start + place]!,
    });
    return { count, unit, window };
  }
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
