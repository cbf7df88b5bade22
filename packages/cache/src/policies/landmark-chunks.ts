import type { CachePolicy } from '@kvlr/core';
import { highest } from './most-attended.ts';

const chunkTokens = 8;
/** Newest tokens whose values stay on the device, at most half of the budget. */
const localTokens = 32;
/** Of this many chunks one is for the least alike keys: 48 beside 256 in the paper. */
const outlierShare = 6;

/**
 * ShadowKV (arXiv 2410.21465): no token is dropped; keys stay on the device and values lie in host memory. A chunk of 8 neighbouring tokens has the
 * mean of its keys as landmark; of the softmax over landmarks the greatest of a slot's heads says which chunks are fetched. Values of the newest
 * tokens, and of the chunks whose keys are least like their landmark, stay on the device.
 *
 * The paper keeps keys before RoPE in factors of low rank and reads prompts with full attention. Here keys are in the cache's codec, and every
 * query chooses, so that windows measure what generated tokens read.
 */
export const landmarkChunks: CachePolicy = {
  title: 'all keys; values of chunks that a query looks for, the others in host memory',
  source: 'arXiv 2410.21465',
  observedQueries: 0,
  keep({ positions, keys, keyWidth, budget }) {
    const tokens = positions.length;
    const local = chunkTokens * Math.floor(Math.min(localTokens, budget / 2) / chunkTokens);
    const outliers = Math.floor((budget - local) / chunkTokens / outlierShare);
    // Chunks are those of the text, so the first and the last may be cut.
    const starts: number[] = [];
    for (let place = 0; place + chunkTokens <= tokens - local; place++) {
      if (positions[place]! % chunkTokens === 0) starts.push(place);
    }
    const unlikeness = Float64Array.from(starts, (place) => {
      return -leastCosine(keys.subarray(place * keyWidth, (place + chunkTokens) * keyWidth), keyWidth);
    });
    const places: number[] = [];
    for (const chunk of highest(unlikeness, outliers)) {
      for (let token = 0; token < chunkTokens; token++) places.push(starts[chunk]! + token);
    }
    for (let token = tokens - local; token < tokens; token++) places.push(token);
    return { places: Int32Array.from(places) };
  },
  fetches: {
    chunkTokens,
    choose({ queries, keyWidth, landmarks, count }) {
      const chunks = landmarks.length / keyWidth;
      const greatest = new Float64Array(chunks);
      for (let head = 0; head < queries.length; head += keyWidth) {
        const scores = Float64Array.from({ length: chunks }, (_, chunk) => {
          let score = 0;
          for (let c = 0; c < keyWidth; c++) score += queries[head + c]! * landmarks[chunk * keyWidth + c]!;
          return score;
        });
        const most = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const sum = weights.reduce((total, weight) => total + weight, 0);
        weights.forEach((weight, chunk) => {
          greatest[chunk] = Math.max(greatest[chunk]!, weight / sum);
        });
      }
      return highest(greatest, count);
    },
  },
};

/** The least cosine between the keys of a chunk and their mean. */
function leastCosine(keys: Float32Array, width: number): number {
  const tokens = keys.length / width;
  const mean = new Float64Array(width);
  keys.forEach((x, i) => {
    mean[i % width]! += x / tokens;
  });
  const norm = Math.hypot(...mean);
  let least = 1;
  for (let token = 0; token < tokens; token++) {
    const key = keys.subarray(token * width, (token + 1) * width);
    const product = key.reduce((sum, x, c) => sum + x * mean[c]!, 0);
    const scale = norm * Math.hypot(...key);
    least = Math.min(least, scale > 0 ? product / scale : 0);
  }
  return least;
}
