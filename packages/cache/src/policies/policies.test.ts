import {
  type CachePolicy,
  codedCacheBytes,
  createNormalRandom,
  fromHalf,
  toHalf,
  type WindowAttention,
} from '@kvlr/core';
import { expectClose, expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { builtInCodecs } from '../cache-codecs.ts';
import { builtInPolicies } from './cache-policies.ts';
import { PolicyLayer } from './policy-layer.ts';
import { spreadBudget } from './spread-budget.ts';
import { effectiveRank } from './spread-by-entropy.ts';

const [tokens, heads, slots, keyWidth, valueWidth] = [100, 4, 2, 8, 6];
const normal = createNormalRandom(5);
/** Halves, so that a cache of f16 loses nothing. */
const numbers = (count: number) => Float32Array.from({ length: count }, () => fromHalf(toHalf(normal())));
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
  new PolicyLayer(window, { codec: builtInCodecs.f16, ...exact, policy: { policy, keep } }).attend(window);

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
  expect(kept.length).toBe(3 * slots);
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
    counts: new Float32Array(40).fill(1),
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

/** Tokens from..to of the window, as a step. */
function stepOf(from: number, to: number) {
  const rows = (of: Float32Array, width: number) => of.slice(from * width, to * width);
  const queries = Array.from({ length: heads }, (_, head) =>
    Array.from(window.queries.slice((head * tokens + from) * keyWidth, (head * tokens + to) * keyWidth)),
  );
  return {
    tokens: to - from,
    queries: Float32Array.from(queries.flat()),
    keys: rows(window.keys, slots * keyWidth),
    values: rows(window.values, slots * valueWidth),
  };
}

const layout = {
  keys: 'stock',
  keySlots: slots,
  keySlotWidth: keyWidth,
  valueSlots: slots,
  valueSlotWidth: valueWidth,
} as const;

describe.each(Object.entries(builtInPolicies).filter(([name]) => name !== 'kvzip'))('%s', (_, policy) => {
  it.each([
    ['f16', 0, 0],
    ['int8', 9, 3],
  ] as const)('gives the same whatever the steps, and takes the bytes that are counted: %s', (codec, last, first) => {
    const cache = { codec: builtInCodecs[codec], window: last, first, policy: { policy, keep: 0.4 } };
    const whole = new PolicyLayer(window, cache).attend(window);
    const layer = new PolicyLayer(window, cache);
    const parts: number[] = [];
    let at = 0;
    for (const to of [1, 2, 40, 41, 64, 97, 99, tokens]) {
      parts.push(...layer.attend(stepOf(at, to)));
      expect(layer.byteLength).toBe(codedCacheBytes({ layers: [{ cache: layout }] }, cache, to));
      at = to;
    }
    expectClose(parts, whole, 1e-5);
    const copy = new PolicyLayer(window, cache);
    copy.copyFrom(layer);
    expect(copy.attend(stepOf(0, 50))).toEqual(layer.attend(stepOf(0, 50)));
  });
});

it('budgets are spread as weights say, between what is least and what is held', () => {
  expect(spreadBudget([1, 0, 0], 12, 1, [10, 10, 10])).toEqual([10, 1, 1]);
  expect(spreadBudget([0, 0], 7, 1, [5, 5])).toEqual([4, 3]);
  const slot = fc.record({ weight: fc.double({ min: 0, max: 9, noNaN: true }), held: fc.integer({ min: 1, max: 90 }) });
  fc.assert(
    fc.property(
      fc.array(slot, { minLength: 1, maxLength: 9 }),
      fc.nat(200),
      fc.integer({ min: 1, max: 9 }),
      (of, more, least) => {
        const held = of.map((each) => each.held);
        const total = least * of.length + more;
        const budgets = spreadBudget(
          of.map(({ weight }) => weight),
          total,
          least,
          held,
        );
        budgets.forEach((budget, i) => {
          expect(budget).toBeLessThanOrEqual(held[i]!);
          expect(budget).toBeGreaterThanOrEqual(Math.min(least, held[i]!));
        });
        const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);
        expect(sum(budgets)).toBe(Math.min(sum(held), Math.max(total, sum(held.map((each) => Math.min(each, least))))));
      },
    ),
  );
});

it('razor: the token that stands for the others weighs as much as they do', () => {
  // All tokens of a slot alike but for their values: attention is even, so the mean value is exact whatever is dropped.
  const alike = { ...window, keys: new Float32Array(window.keys.length) };
  const cache = {
    codec: builtInCodecs.f32,
    window: 0,
    first: 0,
    policy: { policy: builtInPolicies.razor, keep: 0.25 },
  };
  const attended = new PolicyLayer(alike, cache).attend(alike);
  const last = attended.slice(-heads * valueWidth);
  for (let head = 0; head < heads; head++) {
    for (let c = 0; c < valueWidth; c++) {
      const slot = Math.floor((head * slots) / heads);
      let mean = 0;
      for (let token = 0; token < tokens; token++)
        mean += window.values[(token * slots + slot) * valueWidth + c]! / tokens;
      expect(last[head * valueWidth + c]).toBeCloseTo(mean, 2);
    }
  }
});

it('the effective rank is the number of directions where all are alike, and 1 of a line', () => {
  const positions = Int32Array.from({ length: 8 }, (_, i) => i);
  const unit = Float32Array.from({ length: 32 }, (_, i) => {
    return Math.floor(i / 4) >> 1 === i % 4 ? (Math.floor(i / 4) % 2 === 0 ? 1 : -1) : 0;
  });
  expect(effectiveRank({ keys: unit, keyWidth: 4, positions })).toBeCloseTo(4, 6);
  const line = Float32Array.from({ length: 32 }, (_, i) => Math.floor(i / 4) * (1 + (i % 4)));
  expect(effectiveRank({ keys: line, keyWidth: 4, positions })).toBeCloseTo(1, 6);
});

it('kvzip is asked when it is told to, and keeps what the text looked at when it was read again', () => {
  const cache = {
    codec: builtInCodecs.f16,
    window: 0,
    first: 0,
    policy: { policy: builtInPolicies.kvzip, keep: 0.25 },
  };
  const layer = new PolicyLayer(window, cache);
  layer.attend(window);
  const bytes = slots * tokens * (2 * (keyWidth + valueWidth) + 8);
  expect(layer.byteLength).toBe(bytes);
  const copy = new PolicyLayer(window, cache);
  copy.copyFrom(layer);
  copy.watch();
  copy.attend(window);
  // The greatest share of attention over all queries and heads of a slot, by hand.
  const expected = Array.from({ length: slots }, () => new Float64Array(tokens));
  for (let head = 0; head < heads; head++) {
    const slot = Math.floor((head * slots) / heads);
    for (let query = 0; query < tokens; query++) {
      const weights = Array.from({ length: tokens + query + 1 }, (_, place) => {
        const token = place % tokens;
        let score = 0;
        for (let c = 0; c < keyWidth; c++) {
          const key = window.keys[(token * slots + slot) * keyWidth + c]!;
          score += window.queries[(head * tokens + query) * keyWidth + c]! * key;
        }
        return Math.exp(score);
      });
      const sum = weights.reduce((total, weight) => total + weight, 0);
      for (let token = 0; token < tokens; token++) {
        expected[slot]![token] = Math.max(expected[slot]![token]!, weights[token]! / sum);
      }
    }
  }
  const watched = copy.watched();
  expected.forEach((of, slot) => {
    expectClose(watched[slot]!, of, 1e-5);
  });
  layer.settle(watched);
  expect(layer.byteLength).toBe(bytes / 4);
  const best = expected.map((of) =>
    Array.from(of.keys())
      .sort((a, b) => of[b]! - of[a]!)
      .slice(0, 25)
      .sort((a, b) => a - b),
  );
  layer.slotRows().forEach(({ keys }, slot) => {
    best[slot]!.forEach((token, place) => {
      expect(keys[place * keyWidth]).toBe(window.keys[(token * slots + slot) * keyWidth]);
    });
  });
});
