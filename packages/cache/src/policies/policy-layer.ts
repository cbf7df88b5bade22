import { KvlrError, policyBudget, policyTokens, type WindowAttention } from '@kvlr/core';
import { HeldSlot, type PolicyCache, type SeenAttention, type SlotReads } from './held-slot.ts';
import { spreadBudget } from './spread-budget.ts';

/** What a layer's attention is: query head h of H reads slot floor(h * slots / H). */
export type PolicyLayerShape = Pick<WindowAttention, 'layer' | 'heads' | 'slots' | 'keyWidth' | 'valueWidth'>;

/** New tokens of a layer: queries rotated and scaled, [heads, tokens, keyWidth], keys and values as attention reads them. */
export type PolicyStep = Pick<WindowAttention, 'tokens' | 'queries' | 'keys' | 'values'>;

/**
 * One layer of one sequence under a policy. Whatever the steps, the policy is asked when `policyTokens` more tokens have been read: the
 * queries between two questions read what its last answer left and the tokens since, which are halves. Tokens are coded when it has been
 * asked. A policy that reads texts again is asked by `settle` alone.
 */
export class PolicyLayer {
  private readonly slots: HeldSlot[];
  private seen = 0;
  /** By slot: attention of the queries since the last question, [queries, tokens held by then], ragged. */
  private recent: Float32Array[][];
  /** By slot: the greatest attention that the tokens held when `watch` was called have had since. */
  private greatest: Float32Array[] | undefined;

  constructor(
    private readonly shape: PolicyLayerShape,
    private readonly cache: PolicyCache,
  ) {
    const { layer, slots, keyWidth, valueWidth } = shape;
    this.slots = Array.from({ length: slots }, (_, slot) => new HeldSlot({ cache, layer, slot, keyWidth, valueWidth }));
    this.recent = this.slots.map(() => []);
  }

  /**
   * Bytes of what is held, the policy's own included; attention of queries since its last question is not. Where values are fetched: of what a
   * device holds.
   */
  get byteLength(): number {
    return this.slots.reduce((sum, slot) => sum + slot.byteLength, 0);
  }

  /** Bytes in host memory beside them, where values are fetched. */
  get hostByteLength(): number {
    return this.slots.reduce((sum, slot) => sum + slot.hostByteLength, 0);
  }

  /** Adds tokens, and returns the attended values of their queries, [tokens, heads * valueWidth]. */
  attend(step: PolicyStep): Float32Array {
    const { heads, valueWidth } = this.shape;
    const attended = new Float32Array(step.tokens * heads * valueWidth);
    for (let from = 0; from < step.tokens; ) {
      const to = Math.min(step.tokens, from + policyTokens - (this.seen % policyTokens));
      this.slots.forEach((_, slot) => {
        this.attendFrom(slot, step, from, to, attended);
      });
      this.seen += to - from;
      from = to;
      if (this.seen % policyTokens === 0 && !this.cache.policy.policy.readsAgain) this.ask();
    }
    return attended;
  }

  /** What each slot holds, as attention reads it, and how many tokens each of its tokens stands for. */
  slotRows(): { keys: Float32Array; values: Float32Array; counts: Float32Array }[] {
    return this.slots.map((slot) => slot.read());
  }

  /** Bytes of all that is in memory here, whatever a device would hold of it. */
  get storedByteLength(): number {
    return this.slots.reduce((sum, slot) => sum + slot.storedByteLength, 0);
  }

  /** What each slot reads for the queries of one token, [heads, keyWidth], where values are fetched. */
  readsOf(queries: Float32Array): SlotReads[] {
    const size = queries.length / this.slots.length;
    return this.slots.map((slot, place) => slot.readsOf(queries.subarray(place * size, (place + 1) * size)));
  }

  /** By slot: tokens whose values never leave the device, where values are fetched. */
  residentValues(): { places: Int32Array; values: Float32Array }[] {
    return this.slots.map((slot) => slot.residentValues());
  }

  /** Notes from now on the greatest attention that each of the tokens held now has. */
  watch(): void {
    this.greatest = this.slots.map(({ tokens }) => new Float32Array(tokens));
  }

  /** What was noted since `watch`, by slot. */
  watched(): Float32Array[] {
    return this.greatest ?? [];
  }

  /** Asks the policy, which learns the greatest attention that tokens had when the text was read again. */
  settle(greatest: readonly Float32Array[]): void {
    const budget = policyBudget(this.cache.policy, this.cache, this.seen);
    this.slots.forEach((slot, place) => {
      slot.settle({ rows: new Float32Array(0), queries: 0 }, budget, greatest[place]);
    });
  }

  copyFrom(other: PolicyLayer): void {
    this.slots.forEach((slot, place) => {
      slot.copyFrom(other.slots[place]!);
    });
    this.seen = other.seen;
    this.recent = other.recent.map((rows) => [...rows]);
  }

  private attendFrom(slot: number, step: PolicyStep, from: number, to: number, attended: Float32Array): void {
    const { heads, slots, keyWidth, valueWidth } = this.shape;
    const held = this.slots[slot]!;
    const before = held.tokens;
    held.append(
      this.seen,
      columnsOf(step.keys, slots, slot, keyWidth, from, to),
      columnsOf(step.values, slots, slot, valueWidth, from, to),
    );
    const { keys, values, counts } = held.read();
    const perSlot = heads / slots;
    const sums = new Float32Array(held.tokens);
    const scores = new Float64Array(held.tokens);
    const everything = Int32Array.from({ length: held.tokens }, (_, place) => place);
    for (let token = from; token < to; token++) {
      const seen = before + token - from + 1;
      const row = new Float32Array(seen);
      const places = held.placesRead(() => this.queriesOf(slot, step, token), seen) ?? everything.subarray(0, seen);
      for (let head = slot * perSlot; head < (slot + 1) * perSlot; head++) {
        const query = (head * step.tokens + token) * keyWidth;
        let most = Number.NEGATIVE_INFINITY;
        for (const place of places) {
          let score = Math.log(counts[place]!);
          for (let c = 0; c < keyWidth; c++) score += step.queries[query + c]! * keys[place * keyWidth + c]!;
          scores[place] = score;
          if (score > most) most = score;
        }
        let sum = 0;
        for (const place of places) {
          scores[place] = Math.exp(scores[place]! - most);
          sum += scores[place]!;
        }
        const noted = this.greatest?.[slot];
        for (const place of places) {
          if (noted && place < noted.length) noted[place] = Math.max(noted[place]!, scores[place]! / sum);
        }
        const target = (token * heads + head) * valueWidth;
        for (const place of places) {
          const weight = scores[place]! / sum;
          row[place]! += weight / perSlot;
          for (let c = 0; c < valueWidth; c++) attended[target + c]! += weight * values[place * valueWidth + c]!;
        }
      }
      row.forEach((weight, place) => {
        sums[place]! += weight;
      });
      if (!this.cache.policy.policy.readsAgain) this.recent[slot]!.push(row);
    }
    held.addAttention(sums);
  }

  /** Queries of one token that read a slot, [heads, keyWidth]. */
  private queriesOf(slot: number, step: PolicyStep, token: number): Float32Array {
    const { heads, slots, keyWidth } = this.shape;
    const perSlot = heads / slots;
    const result = new Float32Array(perSlot * keyWidth);
    for (let head = 0; head < perSlot; head++) {
      const at = ((slot * perSlot + head) * step.tokens + token) * keyWidth;
      result.set(step.queries.subarray(at, at + keyWidth), head * keyWidth);
    }
    return result;
  }

  private ask(): void {
    const { policy } = this.cache.policy;
    const budget = policyBudget(this.cache.policy, this.cache, this.seen);
    const seen = this.slots.map((slot, place) => attentionRows(this.recent[place]!, slot.tokens));
    const spread = () => {
      const weights = policy.spread!(this.slots.map((slot, place) => slot.middle(seen[place]!, budget)));
      requireWeights(policy.title, weights, this.shape);
      return spreadBudget(
        weights,
        budget * this.slots.length,
        Math.max(1, this.cache.first + this.cache.window),
        this.slots.map(({ tokens }) => tokens),
      );
    };
    const budgets = policy.spread && budget < this.seen ? spread() : this.slots.map(() => budget);
    this.slots.forEach((slot, place) => {
      slot.settle(seen[place]!, budgets[place]!);
    });
    this.recent = this.slots.map(() => []);
  }
}

/** One slot's rows of tokens from..to, [tokens, width]. */
function columnsOf(
  rows: Float32Array,
  slots: number,
  slot: number,
  width: number,
  from: number,
  to: number,
): Float32Array {
  const result = new Float32Array((to - from) * width);
  for (let token = from; token < to; token++) {
    const at = (token * slots + slot) * width;
    result.set(rows.subarray(at, at + width), (token - from) * width);
  }
  return result;
}

/** Rows of attention, padded with zeros to all the tokens that are held. */
function attentionRows(recent: readonly Float32Array[], tokens: number): SeenAttention {
  const rows = new Float32Array(recent.length * tokens);
  recent.forEach((row, query) => {
    rows.set(row, query * tokens);
  });
  return { rows, queries: recent.length };
}

function requireWeights(title: string, weights: readonly number[], { slots, layer }: PolicyLayerShape): void {
  if (weights.length === slots && weights.every((weight) => Number.isFinite(weight) && weight >= 0)) return;
  throw new KvlrError('plugin-invalid', {
    message: `expected ${slots} weights from 0, one a slot, from spread of the cache policy "${title}", got ${JSON.stringify(weights)}`,
    hint: 'Return a finite number from 0 for each slot that was asked about, in their order.',
    where: { layer },
    data: { slots },
  });
}
