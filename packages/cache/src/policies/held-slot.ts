import {
  type CodedCache,
  fetchedPlaceBytes,
  type HeldTokens,
  type KeptTokens,
  KvlrError,
  type PolicySettings,
  policyTokenBytes,
  slotBytes,
} from '@kvlr/core';
import { HeldChunks } from './held-chunks.ts';
import { type HeldRows, heldRows } from './held-rows.ts';

/** A coded cache of which a policy lets some tokens stay. */
export type PolicyCache = CodedCache & { policy: PolicySettings };

export interface SlotRequest {
  cache: PolicyCache;
  layer: number;
  slot: number;
  keyWidth: number;
  valueWidth: number;
}

/** Attention of the newest queries, averaged over the query heads of the slot: [queries, held tokens]. */
export interface SeenAttention {
  rows: Float32Array;
  queries: number;
}

/** What a slot reads for one token, of those that there were when the policy was last asked. */
export interface SlotReads {
  /** Tokens whose values are on the device, and those whose values are fetched. */
  resident: Int32Array;
  fetched: Int32Array;
  /** Values of the fetched ones, [tokens, valueWidth]. */
  values: Float32Array;
}

/** What one KV slot holds under a policy: rows in their codes, and of each token what the policy may ask. */
export class HeldSlot {
  private readonly keys: HeldRows;
  private readonly values: HeldRows;
  private positions = new Int32Array(0);
  private attentionSum = new Float32Array(0);
  /** Tokens that each stands for. */
  private counts = new Float32Array(0);
  /** Of a policy that drops no token, and fetches values. */
  private readonly chunks: HeldChunks | undefined;
  /** Tokens whose values may be read, of those that there were when the policy was last asked. */
  private budget = 0;

  constructor(private readonly request: SlotRequest) {
    const { cache, layer, keyWidth, valueWidth } = request;
    const { fetches, title } = cache.policy.policy;
    this.chunks = fetches && new HeldChunks(fetches, keyWidth, title);
    this.keys = heldRows(cache.codec.keys, { layer, side: 'keys', width: keyWidth });
    this.values = heldRows(cache.codec.values, { layer, side: 'values', width: valueWidth });
  }

  get tokens(): number {
    return this.positions.length;
  }

  /** Where values are fetched: of what a device holds, its values among them. */
  get byteLength(): number {
    const { cache, valueWidth } = this.request;
    if (this.chunks === undefined) return this.keys.byteLength + this.values.byteLength + this.bytesBeside;
    const held = this.budget + this.tokens - this.chunks.settledTokens;
    const values = slotBytes(cache.codec.values, valueWidth, cache, { settled: this.budget, held });
    return this.keys.byteLength + this.chunks.byteLength + values + fetchedPlaceBytes * held;
  }

  /** Bytes in host memory beside them, where values are fetched. */
  get hostByteLength(): number {
    const { cache, valueWidth } = this.request;
    if (this.chunks === undefined) return 0;
    const settled = this.chunks.settledTokens;
    return slotBytes(cache.codec.values, valueWidth, cache, { settled, held: settled }) + this.bytesBeside;
  }

  /** Bytes of all that is in memory here, whatever a device would hold of it. */
  get storedByteLength(): number {
    return this.keys.byteLength + this.values.byteLength + (this.chunks?.byteLength ?? 0) + this.bytesBeside;
  }

  private get bytesBeside(): number {
    return policyTokenBytes(this.request.cache.policy.policy) * this.tokens;
  }

  /** Adds tokens at positions from `from` on. */
  append(from: number, keys: Float32Array, values: Float32Array): void {
    const before = this.tokens;
    const added = keys.length / this.request.keyWidth;
    this.keys.append(keys);
    this.values.append(values);
    this.positions = Int32Array.from({ length: before + added }, (_, i) =>
      i < before ? this.positions[i]! : from + i - before,
    );
    this.attentionSum = Float32Array.from({ length: before + added }, (_, i) => this.attentionSum[i] ?? 0);
    this.counts = Float32Array.from({ length: before + added }, (_, i) => this.counts[i] ?? 1);
  }

  /** Keys and values as attention reads them, and how many tokens each stands for. */
  read(): { keys: Float32Array; values: Float32Array; counts: Float32Array } {
    return { keys: this.keys.read(), values: this.values.read(), counts: this.counts };
  }

  /** Places that a token's queries, [heads, keyWidth], read of the first `tokens`; undefined for all of them. */
  placesRead(queries: () => Float32Array, tokens: number): Int32Array | undefined {
    return this.chunks?.placesRead(queries(), tokens);
  }

  /** What a token's queries, [heads, keyWidth], read of the tokens that there were when the policy was last asked, where values are fetched. */
  readsOf(queries: Float32Array): SlotReads {
    const { chunks } = this;
    const read = chunks?.placesRead(queries, chunks.settledTokens) ?? new Int32Array(0);
    const fetched = read.filter((place) => !chunks?.isResident(place));
    return {
      resident: read.filter((place) => chunks?.isResident(place)),
      fetched,
      values: this.values.readAt(fetched),
    };
  }

  /** Tokens whose values never leave the device, where values are fetched, and these values, [places, valueWidth]. */
  residentValues(): { places: Int32Array; values: Float32Array } {
    const places = this.chunks?.residents ?? new Int32Array(0);
    return { places, values: this.values.readAt(places) };
  }

  /** Counts attention that tokens have had. */
  addAttention(sums: Float32Array): void {
    sums.forEach((sum, token) => {
      this.attentionSum[token]! += sum;
    });
  }

  /** What a policy is told of the tokens that are not exact; no more than `budget` of them may stay. */
  middle(attention: SeenAttention, budget: number, greatest?: Float32Array): HeldTokens {
    const { layer, slot, keyWidth, valueWidth, cache } = this.request;
    const { from, to } = this.middleRange();
    const queries = Math.min(cache.policy.policy.observedQueries, attention.queries);
    const columns = to - from;
    const { tokens } = this;
    const { keys, values } = this.read();
    return {
      ...{ layer, slot, keyWidth, valueWidth, queries, budget },
      positions: this.positions.slice(from, to),
      keys: keys.slice(from * keyWidth, to * keyWidth),
      values: values.slice(from * valueWidth, to * valueWidth),
      attentionSum: this.attentionSum.slice(from, to),
      counts: this.counts.slice(from, to),
      ...(greatest && { greatest: greatest.slice(from, to) }),
      attention: Float32Array.from({ length: queries * columns }, (_, i) => {
        const row = attention.queries - queries + Math.floor(i / columns);
        return attention.rows[row * tokens + from + (i % columns)]!;
      }),
    };
  }

  /** Asks the policy where there are more tokens than `budget`, exact ones included, and codes what is to be coded by now. */
  settle(attention: SeenAttention, budget: number, greatest?: Float32Array): void {
    const { cache, keyWidth, valueWidth } = this.request;
    const { policy } = cache.policy;
    const { tokens } = this;
    const { from, to } = this.middleRange();
    const asked = this.middle(attention, Math.min(to - from, Math.max(0, budget - (tokens - (to - from)))), greatest);
    let kept: KeptTokens = { places: Int32Array.from({ length: to - from }, (_, place) => place) };
    if (budget < tokens) kept = asked.budget === 0 ? { places: new Int32Array(0) } : policy.keep(asked);
    requirePlaces(cache.policy, kept, asked);
    if (this.chunks) {
      this.settleChunks(this.chunks, kept, Math.min(budget, tokens));
      return;
    }
    const places = Int32Array.from([
      ...Array.from({ length: from }, (_, place) => place),
      ...Array.from(kept.places, (place) => from + place),
      ...Array.from({ length: tokens - to }, (_, place) => to + place),
    ]);
    const replaced = (part: Float32Array | undefined, rows: HeldRows, width: number) => {
      if (part === undefined) return undefined;
      const before = rows.read();
      const result = new Float32Array(places.length * width);
      places.forEach((place, i) => {
        result.set(before.subarray(place * width, (place + 1) * width), i * width);
      });
      result.set(part, from * width);
      return result;
    };
    this.keys.settle(places, cache, replaced(kept.keys, this.keys, keyWidth));
    this.values.settle(places, cache, replaced(kept.values, this.values, valueWidth));
    this.positions = places.map((place) => this.positions[place]!);
    this.attentionSum = Float32Array.from(places, (place) => this.attentionSum[place]!);
    this.counts = Float32Array.from(places, (place, i) => {
      const inMiddle = i >= from && i < from + kept.places.length;
      return (inMiddle ? kept.counts?.[i - from] : undefined) ?? this.counts[place]!;
    });
  }

  /** Codes what is to be coded by now; all tokens stay, and those that a policy names as its own on the device. */
  private settleChunks(chunks: HeldChunks, kept: KeptTokens, budget: number): void {
    const { cache } = this.request;
    const { from, to } = this.middleRange();
    const all = Int32Array.from({ length: this.tokens }, (_, place) => place);
    this.keys.settle(all, cache);
    this.values.settle(all, cache);
    const resident = [
      ...all.subarray(0, from),
      ...Array.from(kept.places, (place) => from + place),
      ...all.subarray(to),
    ];
    chunks.settle(this.keys.read(), Int32Array.from(resident), budget);
    this.budget = budget;
  }

  copyFrom(other: HeldSlot): void {
    if (other.chunks) this.chunks?.copyFrom(other.chunks);
    this.budget = other.budget;
    this.keys.copyFrom(other.keys);
    this.values.copyFrom(other.values);
    this.positions = other.positions.slice();
    this.attentionSum = other.attentionSum.slice();
    this.counts = other.counts.slice();
  }

  /** Where the tokens are that are not exact. */
  private middleRange(): { from: number; to: number } {
    const { first, window } = this.request.cache;
    const behind = this.positions.findIndex((position) => position >= first);
    const from = behind < 0 ? this.tokens : behind;
    return { from, to: Math.max(from, this.tokens - window) };
  }
}

function requirePlaces(
  { policy }: PolicySettings,
  { places }: KeptTokens,
  { positions, budget, layer }: HeldTokens,
): void {
  const ascends = places.every((place, i) => place >= 0 && place < positions.length && !(place <= places[i - 1]!));
  if (ascends && places.length <= budget) return;
  throw new KvlrError('plugin-invalid', {
    message: `expected at most ${budget} of ${positions.length} places, ascending, from the cache policy "${policy.title}", got ${places.length}`,
    hint: 'Return places of the tokens that stay, from 0, none twice.',
    where: { layer },
    data: { budget, tokens: positions.length, places: places.length },
  });
}
