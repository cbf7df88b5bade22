import { alibiPenalty, type DecoderShape, keyValueHeadOf } from '@kvlr/core';

/** Of so many queries one is asked: what it attends to stands for all of them. */
const queriesPerSample = 16;

export interface WindowHeads {
  /** Behind their positions, heads side by side: [tokens, numAttentionHeads * headDim]. */
  queries: Float32Array;
  /** [tokens, numKeyValueHeads * headDim]. */
  keys: Float32Array;
  tokens: number;
}

/**
 * How much attention each position of a window gets, mean over query heads, [tokens], 1 on average. Softmax attention of the last of
 * every 16 queries, so that every position is seen by one at least. Attention sinks (Xiao et al. 2023, arXiv 2309.17453) get a
 * hundred times as much as other positions.
 */
export function receivedAttention(
  { queries, keys, tokens }: WindowHeads,
  shape: DecoderShape,
  layer: number,
): Float32Array {
  const { numAttentionHeads, numKeyValueHeads, headDim } = shape;
  const { window = tokens } = shape.layers[layer]!;
  const received = new Float32Array(tokens);
  const weights = new Float64Array(tokens);
  for (let head = 0; head < numAttentionHeads; head++) {
    const scoreAt = scoresOf(shape, layer, head);
    const keyStart = keyValueHeadOf(shape, head) * headDim;
    for (let block = 0; block < tokens; block += queriesPerSample) {
      const query = Math.min(block + queriesPerSample, tokens) - 1;
      const queryStart = (query * numAttentionHeads + head) * headDim;
      const first = Math.max(0, query + 1 - window);
      let highest = Number.NEGATIVE_INFINITY;
      for (let position = first; position <= query; position++) {
        const start = position * numKeyValueHeads * headDim + keyStart;
        let product = 0;
        for (let i = 0; i < headDim; i++) product += queries[queryStart + i]! * keys[start + i]!;
        weights[position] = scoreAt(product, position, query);
        highest = Math.max(highest, weights[position]!);
      }
      let total = 0;
      for (let position = first; position <= query; position++) {
        weights[position] = Math.exp(weights[position]! - highest);
        total += weights[position]!;
      }
      // The last block may be shorter: its query stands for fewer.
      const share = (query + 1 - block) / (total * numAttentionHeads);
      for (let position = first; position <= query; position++) received[position]! += share * weights[position]!;
    }
  }
  return received;
}

/** What softmax is taken of, from the product of a query of the head with a key, and their positions. */
function scoresOf(
  { attention, layers }: DecoderShape,
  layer: number,
  head: number,
): (product: number, key: number, query: number) => number {
  const { scoreScale, softCap } = attention;
  const { positions } = layers[layer]!;
  const penalty = positions.kind === 'alibi' ? alibiPenalty(positions.slopes[head]!, positions) : () => 0;
  return (product, key, query) => {
    const score = scoreScale * product;
    return (softCap === undefined ? score : softCap * Math.tanh(score / softCap)) + penalty(key, query);
  };
}
