import type { CachePolicy, HeldTokens } from '@kvlr/core';
import { attentionOfTokens } from './most-attended.ts';

/** Newest tokens that are not merged, at most half of the budget. */
const untouched = 32;

/**
 * KVMerger (arXiv 2407.08454): neighbours whose keys are alike become one token. Runs of tokens are joined where the cosine between the keys
 * of two neighbours is highest, until the budget is met. Of each run the token with most attention is the pivot; keys and values are
 * averages with the weights of a Gaussian around the pivot's key, its width from the distances in the run.
 */
export const mergeSimilar: CachePolicy = {
  title: 'neighbours with similar keys merged',
  source: 'arXiv 2407.08454',
  observedQueries: 32,
  keep(held) {
    const { positions, budget, keyWidth, valueWidth } = held;
    const tokens = positions.length;
    const mergeable = tokens - Math.min(untouched, Math.floor(budget / 2));
    const runs = joinMostSimilar(held, mergeable, tokens - budget);
    const attention = attentionOfTokens(held);
    const places = new Int32Array(runs.length);
    const keys = new Float32Array(runs.length * keyWidth);
    const values = new Float32Array(runs.length * valueWidth);
    runs.forEach(([from, to], run) => {
      let pivot = from;
      for (let token = from + 1; token < to; token++) if (attention[token]! > attention[pivot]!) pivot = token;
      const weights = gaussianWeights(held, from, to, pivot);
      places[run] = pivot;
      average(held.keys, keyWidth, from, weights, keys.subarray(run * keyWidth, (run + 1) * keyWidth));
      average(held.values, valueWidth, from, weights, values.subarray(run * valueWidth, (run + 1) * valueWidth));
    });
    return { places, keys, values };
  },
};

type Run = [from: number, to: number];

/** Runs of tokens, all single but for the `joins` most similar pairs of neighbours among the first `mergeable`. */
function joinMostSimilar({ keys, keyWidth, positions }: HeldTokens, mergeable: number, joins: number): Run[] {
  const pairs = Array.from({ length: Math.max(0, mergeable - 1) }, (_, first) => first);
  const similarity = pairs.map((first) => cosine(keys, keyWidth, first, first + 1));
  const joined = new Set(pairs.sort((a, b) => similarity[b]! - similarity[a]!).slice(0, joins));
  const runs: Run[] = [];
  for (let token = 0; token < positions.length; token++) {
    if (joined.has(token - 1)) runs.at(-1)![1] = token + 1;
    else runs.push([token, token + 1]);
  }
  return runs;
}

function cosine(rows: Float32Array, width: number, first: number, second: number): number {
  let product = 0;
  let energies = [0, 0];
  for (let c = 0; c < width; c++) {
    const [x, y] = [rows[first * width + c]!, rows[second * width + c]!];
    product += x * y;
    energies = [energies[0]! + x * x, energies[1]! + y * y];
  }
  const scale = Math.sqrt(energies[0]! * energies[1]!);
  return scale > 0 ? product / scale : 0;
}

/** exp(-d^2 / (2 s^2)) of each token of a run, d the distance of its key to the pivot's, s the mean distance over the square root of 2; of sum 1. */
function gaussianWeights({ keys, keyWidth }: HeldTokens, from: number, to: number, pivot: number): Float64Array {
  const distances = Float64Array.from({ length: to - from }, (_, i) => {
    let square = 0;
    for (let c = 0; c < keyWidth; c++) square += (keys[(from + i) * keyWidth + c]! - keys[pivot * keyWidth + c]!) ** 2;
    return Math.sqrt(square);
  });
  const spread = distances.reduce((sum, distance) => sum + distance, 0) / (Math.SQRT2 * distances.length);
  const weights = distances.map((distance) => (spread > 0 ? Math.exp(-(distance ** 2) / (2 * spread ** 2)) : 1));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function average(rows: Float32Array, width: number, from: number, weights: Float64Array, result: Float32Array): void {
  weights.forEach((weight, i) => {
    for (let c = 0; c < width; c++) result[c]! += weight * rows[(from + i) * width + c]!;
  });
}
