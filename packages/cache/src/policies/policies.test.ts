import { type CachePolicy, createNormalRandom, type WindowAttention } from '@kvlr/core';
import { expectClose, expectKvlrError } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { builtInPolicies } from './cache-policies.ts';
import { attendUnderPolicy } from './policy-attention.ts';

const [tokens, heads, slots, keyWidth, valueWidth] = [100, 4, 2, 8, 6];
const normal = createNormalRandom(5);
const numbers = (count: number) => Float32Array.from({ length: count }, normal);
const window: WindowAttention = {
  ...{ layer: 0, tokens, heads, slots, keyWidth, valueWidth },
  queries: numbers(heads * tokens * keyWidth),
  keys: numbers(tokens * slots * keyWidth),
  values: numbers(tokens * slots * valueWidth),
};

/** Attention of every query over the tokens that it may see. */
function attend(sees: (query: number, token: number) => boolean): Float32Array {
  const result = new Float32Array(tokens * heads * valueWidth);
  for (let head = 0; head < heads; head++) {
    const slot = Math.floor((head * slots) / heads);
    for (let query = 0; query < tokens; query++) {
      const weights = Array.from({ length: query + 1 }, (_, token) => {
        let score = 0;
        for (let c = 0; c < keyWidth; c++) {
          const key = window.keys[(token * slots + slot) * keyWidth + c]!;
          score += window.queries[(head * tokens + query) * keyWidth + c]! * key;
        }
        return sees(query, token) ? Math.exp(score) : 0;
      });
      const sum = weights.reduce((total, weight) => total + weight, 0);
      weights.forEach((weight, token) => {
        for (let c = 0; c < valueWidth; c++) {
          const value = window.values[(token * slots + slot) * valueWidth + c]!;
          result[(query * heads + head) * valueWidth + c]! += (weight / sum) * value;
        }
      });
    }
  }
  return result;
}

const under = (policy: CachePolicy, keep: number, exact = { window: 0, first: 0 }) =>
  attendUnderPolicy(window, { ...exact, policy: { policy, keep } });

it.each(Object.entries(builtInPolicies))('%s changes nothing where everything may stay', (_, policy) => {
  expectClose(
    under(policy, 1),
    attend(() => true),
    1e-5,
  );
  expectClose(
    under(policy, 0.01, { window: 90, first: 10 }),
    attend(() => true),
    1e-5,
  );
});

it('sinks sees the first tokens, the newest when it was last asked, and what came since', () => {
  const expected = attend((query, token) => {
    const asked = 32 * Math.floor(query / 32);
    const budget = Math.ceil(0.25 * asked);
    const sinks = Math.min(4, Math.floor(budget / 2));
    return token < sinks || token >= asked - (budget - sinks);
  });
  expectClose(under(builtInPolicies.sinks, 0.25), expected, 1e-5);
});

it('exact tokens stay whatever a policy says', () => {
  const nothing: CachePolicy = { title: 'nothing', observedQueries: 0, keep: () => ({ places: new Int32Array(0) }) };
  const expected = attend((query, token) => {
    const asked = 32 * Math.floor(query / 32);
    return token < 3 || token >= asked - 9;
  });
  expectClose(under(nothing, 0.1, { window: 9, first: 3 }), expected, 1e-5);
});

it('snapkv keeps the token that the last queries look at', () => {
  const kept: number[][] = [];
  const spy: CachePolicy = {
    ...builtInPolicies.snapkv,
    keep(held) {
      const result = builtInPolicies.snapkv.keep(held);
      const votes = Array.from(held.positions, (_, token) => {
        let sum = 0;
        for (let query = 0; query < held.queries; query++)
          sum += held.attention[query * held.positions.length + token]!;
        return sum;
      });
      expect(Math.abs(votes.reduce((sum, vote) => sum + vote, 0) - held.queries)).toBeLessThan(1e-3);
      kept.push([votes.indexOf(Math.max(...votes)), ...result.places]);
      expect(result.places.length).toBe(held.budget);
      return result;
    },
  };
  under(spy, 0.25);
  expect(kept.length).toBe(4 * slots);
  for (const [best, ...places] of kept) expect(places).toContain(best);
});

it('kvmerger replaces equal neighbours by themselves', () => {
  const pairs = { ...window, keys: window.keys.slice(), values: window.values.slice() };
  for (let token = 0; token < tokens; token += 2) {
    for (const [rows, width] of [
      [pairs.keys, slots * keyWidth],
      [pairs.values, slots * valueWidth],
    ] as const) {
      rows.copyWithin((token + 1) * width, token * width, (token + 1) * width);
    }
  }
  const held = {
    ...{ layer: 0, slot: 0, keyWidth, valueWidth, queries: 0, attention: new Float32Array(0) },
    positions: Int32Array.from({ length: 40 }, (_, i) => i),
    keys: Float32Array.from({ length: 40 * keyWidth }, (_, i) => {
      return pairs.keys[Math.floor(i / keyWidth) * slots * keyWidth + (i % keyWidth)]!;
    }),
    values: Float32Array.from({ length: 40 * valueWidth }, (_, i) => {
      return pairs.values[Math.floor(i / valueWidth) * slots * valueWidth + (i % valueWidth)]!;
    }),
    attentionSum: new Float32Array(40),
    budget: 35,
  };
  const { places, keys, values } = builtInPolicies.kvmerger.keep(held);
  expect(places.length).toBe(35);
  places.forEach((place, i) => {
    expectClose(
      keys!.slice(i * keyWidth, (i + 1) * keyWidth),
      held.keys.slice(place * keyWidth, (place + 1) * keyWidth),
      1e-6,
    );
    expectClose(
      values!.slice(i * valueWidth, (i + 1) * valueWidth),
      held.values.slice(place * valueWidth, (place + 1) * valueWidth),
      1e-6,
    );
  });
});

it('refuses what a policy may not keep', () => {
  const greedy: CachePolicy = { title: 'greedy', observedQueries: 0, keep: ({ positions }) => ({ places: positions }) };
  expectKvlrError(() => under(greedy, 0.5), 'plugin-invalid', 'places, ascending, from the cache policy "greedy"');
});
