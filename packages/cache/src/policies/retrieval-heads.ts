import type { CachePolicy, HeldTokens } from '@kvlr/core';

/** Tokens at the start that every slot keeps. */
const sinkTokens = 4;
/** Newest tokens within which attention is local. */
const localTokens = 32;
/** What a slot is worth that does not look back. Retrieval slots come before it as long as there is budget. */
const local = 1e-6;

/**
 * RazorAttention (arXiv 2407.15891): slots whose heads look far back keep all of their tokens, the others the first, the newest, and one that
 * stands for all that was dropped: the mean of their keys and of their values, counted as often as it stands for.
 *
 * The paper finds retrieval heads once, with random tokens that are repeated. Here they are those of a layer with the most attention beyond
 * the first and the newest tokens, on the text itself, as many as leave the others half of an even share.
 */
export const retrievalHeads: CachePolicy = {
  title: 'all of the slots that look back, the newest and a mean of the others',
  source: 'arXiv 2407.15891',
  observedQueries: 32,
  countsTokens: true,
  spread(slots) {
    const reach = slots.map(attentionFarBack);
    const { budget, positions } = slots.reduce((most, slot) => (slot.budget > most.budget ? slot : most));
    const tokens = positions.length;
    // r tokens each, the others half of the budget: r T + (S - r) b / 2 = S b.
    const most = Math.floor((slots.length * budget) / 2 / Math.max(1, tokens - budget / 2));
    const order = reach.map((_, slot) => slot).sort((a, b) => reach[b]! - reach[a]! || a - b);
    const retrieval = new Set(order.slice(0, most));
    return slots.map((_, slot) => (retrieval.has(slot) ? 1 : local));
  },
  keep({ positions, keys, values, counts, keyWidth, valueWidth, budget }) {
    const tokens = positions.length;
    if (budget < 2) return { places: Int32Array.from({ length: budget }, (_, i) => tokens - budget + i) };
    const sinks = Math.min(sinkTokens, Math.floor(budget / 2));
    const newest = budget - sinks - 1;
    const dropped = Array.from({ length: tokens - newest - sinks }, (_, i) => sinks + i);
    // The token that stands for the others is the first of them, and stays it.
    const places = Int32Array.from({ length: budget }, (_, i) => (i <= sinks ? i : tokens - budget + i));
    const pick = (rows: Float32Array, width: number) => {
      const kept = Float32Array.from({ length: budget * width }, (_, i) => {
        return rows[places[Math.floor(i / width)]! * width + (i % width)]!;
      });
      kept.set(meanOf(rows, width, dropped, counts), sinks * width);
      return kept;
    };
    const standsFor = dropped.reduce((sum, token) => sum + counts[token]!, 0);
    return {
      places,
      keys: pick(keys, keyWidth),
      values: pick(values, valueWidth),
      counts: Float32Array.from(places, (place, i) => (i === sinks ? standsFor : counts[place]!)),
    };
  },
};

/** Share of the observed attention that goes to tokens between the first and the newest. */
function attentionFarBack({ attention, queries, positions }: HeldTokens): number {
  const tokens = positions.length;
  let far = 0;
  let all = 0;
  for (let query = 0; query < queries; query++) {
    for (let token = 0; token < tokens; token++) {
      const weight = attention[query * tokens + token]!;
      all += weight;
      if (token >= sinkTokens && token < tokens - localTokens) far += weight;
    }
  }
  return all > 0 ? far / all : 0;
}

function meanOf(rows: Float32Array, width: number, tokens: readonly number[], counts: Float32Array): Float32Array {
  const mean = new Float64Array(width);
  let all = 0;
  for (const token of tokens) {
    all += counts[token]!;
    for (let c = 0; c < width; c++) mean[c]! += counts[token]! * rows[token * width + c]!;
  }
  return Float32Array.from(mean, (sum) => sum / all);
}
