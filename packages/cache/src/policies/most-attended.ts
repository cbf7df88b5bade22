import type { CachePolicy, HeldTokens } from '@kvlr/core';

/** Tokens at the start of a text that attention rests on whatever they say (arXiv 2309.17453). */
const sinkTokens = 4;

/** The first tokens and the newest: StreamingLLM (arXiv 2309.17453), with the positions that tokens had. */
export const newestFirst: CachePolicy = {
  title: 'the first 4 tokens and the newest',
  source: 'arXiv 2309.17453',
  observedQueries: 0,
  keep({ positions, budget }) {
    const tokens = positions.length;
    const sinks = Math.min(sinkTokens, Math.floor(budget / 2));
    return { places: range(tokens).filter((place) => place < sinks || place >= tokens - (budget - sinks)) };
  },
};

/** Queries whose votes count, and places over which votes are pooled, as in the paper's experiments. */
const observed = 32;
const pooled = 7;

/**
 * SnapKV (arXiv 2404.14469): the last queries vote with their attention, votes are pooled over neighbours so that what belongs together
 * stays together, and the most voted tokens stay beside the voters, which take half of the budget at most.
 */
export const mostAttended: CachePolicy = {
  title: 'what the last 32 queries attend to most',
  source: 'arXiv 2404.14469',
  observedQueries: observed,
  keep(held) {
    const { budget, positions } = held;
    const tokens = positions.length;
    const voters = Math.min(observed, Math.floor(budget / 2));
    const votes = pool(attentionOfTokens(held), pooled);
    votes.fill(Number.POSITIVE_INFINITY, tokens - voters);
    return { places: highest(votes, budget) };
  },
};

/** Attention that each held token has from the observed queries together. */
export function attentionOfTokens({ attention, queries, positions }: HeldTokens): Float64Array {
  const tokens = positions.length;
  const sums = new Float64Array(tokens);
  for (let query = 0; query < queries; query++) {
    for (let token = 0; token < tokens; token++) sums[token]! += attention[query * tokens + token]!;
  }
  return sums;
}

/** The greatest of each number and its neighbours within a window of so many. */
function pool(values: Float64Array, size: number): Float64Array {
  const reach = Math.floor(size / 2);
  return values.map((_, place) => Math.max(...values.subarray(Math.max(0, place - reach), place + reach + 1)));
}

/** Places of the `count` highest values, ascending; of equals the later. */
export function highest(values: Float64Array, count: number): Int32Array {
  const order = range(values.length).sort((a, b) => values[b]! - values[a]! || b - a);
  return order.slice(0, count).sort();
}

function range(count: number): Int32Array {
  return Int32Array.from({ length: count }, (_, place) => place);
}
