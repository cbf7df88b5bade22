import {
  type CachePolicy,
  type CodedCache,
  type HeldTokens,
  KvlrError,
  type PolicySettings,
  policyBudget,
  policyTokens,
  type WindowAttention,
} from '@kvlr/core';

/**
 * Attention over a window that is read in steps of `policyTokens`: the queries of a step read what the slot holds and the step itself; then
 * the policy says what stays. Every slot is asked alone. Returns the attended values, [tokens, heads * valueWidth].
 *
 * @throws KvlrError 'plugin-invalid' for a policy that keeps what there is not, or too much.
 */
export function attendUnderPolicy(
  window: WindowAttention,
  cache: Pick<CodedCache, 'window' | 'first'> & { policy: PolicySettings },
): Float32Array {
  const attended = new Float32Array(window.tokens * window.heads * window.valueWidth);
  for (let slot = 0; slot < window.slots; slot++) {
    let held = emptySlot();
    for (let from = 0; from < window.tokens; from += policyTokens) {
      const to = Math.min(window.tokens, from + policyTokens);
      held = appendTokens(held, window, slot, from, to);
      const step = attendStep(held, window, slot, from, to, attended);
      const budget = policyBudget(cache.policy, cache, to);
      if (budget < held.positions.length) held = ask(cache, window, slot, held, step, budget);
    }
  }
  return attended;
}

/** What a slot holds between two steps. */
interface SlotContents {
  positions: Int32Array;
  keys: Float32Array;
  values: Float32Array;
  /** Attention so far, averaged over the query heads of the slot. */
  attentionSum: Float32Array;
}

const emptySlot = (): SlotContents => ({
  positions: new Int32Array(0),
  keys: new Float32Array(0),
  values: new Float32Array(0),
  attentionSum: new Float32Array(0),
});

function appendTokens(
  held: SlotContents,
  { slots, keyWidth, valueWidth, keys, values }: WindowAttention,
  slot: number,
  from: number,
  to: number,
): SlotContents {
  const rowsOf = (rows: Float32Array, width: number) =>
    Array.from({ length: to - from }, (_, i) => {
      const at = ((from + i) * slots + slot) * width;
      return rows.subarray(at, at + width);
    });
  const joinRows = (before: Float32Array, added: Float32Array[], width: number) => {
    const result = new Float32Array(before.length + added.length * width);
    result.set(before);
    added.forEach((row, i) => {
      result.set(row, before.length + i * width);
    });
    return result;
  };
  const positions = new Int32Array(held.positions.length + to - from);
  positions.set(held.positions);
  for (let position = from; position < to; position++) positions[held.positions.length + position - from] = position;
  const attentionSum = new Float32Array(positions.length);
  attentionSum.set(held.attentionSum);
  return {
    positions,
    keys: joinRows(held.keys, rowsOf(keys, keyWidth), keyWidth),
    values: joinRows(held.values, rowsOf(values, valueWidth), valueWidth),
    attentionSum,
  };
}

/** Attends from the queries of one step, adds up what the held tokens had of it, and returns it: [queries, held tokens]. */
function attendStep(
  { positions, keys, values, attentionSum }: SlotContents,
  { tokens, heads, slots, keyWidth, valueWidth, queries }: WindowAttention,
  slot: number,
  from: number,
  to: number,
  attended: Float32Array,
): Float32Array {
  const count = positions.length;
  const before = count - (to - from);
  const perSlot = heads / slots;
  const attention = new Float32Array((to - from) * count);
  const scores = new Float64Array(count);
  for (let head = slot * perSlot; head < (slot + 1) * perSlot; head++) {
    for (let token = from; token < to; token++) {
      const query = (head * tokens + token) * keyWidth;
      const seen = before + token - from + 1;
      let most = Number.NEGATIVE_INFINITY;
      for (let place = 0; place < seen; place++) {
        let score = 0;
        for (let c = 0; c < keyWidth; c++) score += queries[query + c]! * keys[place * keyWidth + c]!;
        scores[place] = score;
        if (score > most) most = score;
      }
      let sum = 0;
      for (let place = 0; place < seen; place++) {
        scores[place] = Math.exp(scores[place]! - most);
        sum += scores[place]!;
      }
      const target = (token * heads + head) * valueWidth;
      const row = (token - from) * count;
      for (let place = 0; place < seen; place++) {
        const weight = scores[place]! / sum;
        attention[row + place]! += weight / perSlot;
        attentionSum[place]! += weight / perSlot;
        for (let c = 0; c < valueWidth; c++) attended[target + c]! += weight * values[place * valueWidth + c]!;
      }
    }
  }
  return attention;
}

/** What stays: the exact tokens, and of the others what the policy keeps. */
function ask(
  { policy, window, first }: Pick<CodedCache, 'window' | 'first'> & { policy: PolicySettings },
  { layer, keyWidth, valueWidth }: WindowAttention,
  slot: number,
  held: SlotContents,
  attention: Float32Array,
  budget: number,
): SlotContents {
  const count = held.positions.length;
  const exactFirst = held.positions.findIndex((position) => position >= first);
  const begin = exactFirst < 0 ? count : exactFirst;
  const middle = { from: begin, to: Math.max(begin, count - window) };
  const budgetOfMiddle = budget - (count - (middle.to - middle.from));
  const places: number[] = [];
  const result = { ...held, keys: held.keys.slice(), values: held.values.slice() };
  for (let place = 0; place < middle.from; place++) places.push(place);
  if (budgetOfMiddle > 0) {
    const part = partOf(held, middle.from, middle.to, keyWidth, valueWidth);
    const { observedQueries } = policy.policy;
    const queries = Math.min(observedQueries, attention.length / count);
    const asked: HeldTokens = {
      ...{ layer, slot, keyWidth, valueWidth, queries, budget: budgetOfMiddle, ...part },
      attention: columnsOf(attention, count, queries, middle.from, middle.to),
    };
    const kept = policy.policy.keep(asked);
    requirePlaces(policy.policy, kept.places, asked);
    kept.places.forEach((place, i) => {
      const at = middle.from + place;
      places.push(at);
      if (kept.keys) result.keys.set(kept.keys.subarray(i * keyWidth, (i + 1) * keyWidth), at * keyWidth);
      if (kept.values) result.values.set(kept.values.subarray(i * valueWidth, (i + 1) * valueWidth), at * valueWidth);
    });
  }
  for (let place = middle.to; place < count; place++) places.push(place);
  const rows = (source: Float32Array, width: number) =>
    Float32Array.from({ length: places.length * width }, (_, i) => {
      return source[places[Math.floor(i / width)]! * width + (i % width)]!;
    });
  return {
    positions: Int32Array.from(places, (place) => held.positions[place]!),
    keys: rows(result.keys, keyWidth),
    values: rows(result.values, valueWidth),
    attentionSum: rows(held.attentionSum, 1),
  };
}

function partOf(
  { positions, keys, values, attentionSum }: SlotContents,
  from: number,
  to: number,
  keyWidth: number,
  valueWidth: number,
): SlotContents {
  return {
    positions: positions.slice(from, to),
    keys: keys.slice(from * keyWidth, to * keyWidth),
    values: values.slice(from * valueWidth, to * valueWidth),
    attentionSum: attentionSum.slice(from, to),
  };
}

/** Columns from..to of the last `count` rows. */
function columnsOf(rows: Float32Array, width: number, count: number, from: number, to: number): Float32Array {
  const first = rows.length / width - count;
  const columns = to - from;
  return Float32Array.from({ length: count * columns }, (_, i) => {
    return rows[(first + Math.floor(i / columns)) * width + from + (i % columns)]!;
  });
}

function requirePlaces(policy: CachePolicy, places: Int32Array, { positions, budget, layer }: HeldTokens): void {
  const ascends = places.every((place, i) => place >= 0 && place < positions.length && !(place <= places[i - 1]!));
  if (ascends && places.length <= budget) return;
  throw new KvlrError('plugin-invalid', {
    message: `expected at most ${budget} of ${positions.length} places, ascending, from the cache policy "${policy.title}", got ${places.length}`,
    hint: 'Return places of the tokens that stay, from 0, none twice.',
    where: { layer },
    data: { budget, tokens: positions.length, places: places.length },
  });
}
