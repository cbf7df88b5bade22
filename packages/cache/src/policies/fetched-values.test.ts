import {
  type CachePolicy,
  type CodedCache,
  codedCacheBytes,
  createNormalRandom,
  fromHalf,
  hostCacheBytes,
  type LayerCacheLayout,
  toHalf,
  type WindowAttention,
} from '@kvlr/core';
import { expectClose, expectKvlrError } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { builtInCodecs } from '../cache-codecs.ts';
import { builtInPolicies } from './cache-policies.ts';
import { PolicyLayer } from './policy-layer.ts';

const [tokens, heads, slots, keyWidth, valueWidth] = [300, 4, 2, 8, 6];
const normal = createNormalRandom(11);
/** Halves, so that a cache of f16 loses nothing. */
const numbers = (count: number, scale = 1) =>
  Float32Array.from({ length: count }, () => fromHalf(toHalf(scale * normal())));
const window: WindowAttention = {
  ...{ layer: 0, tokens, heads, slots, keyWidth, valueWidth },
  queries: numbers(heads * tokens * keyWidth, 1.5),
  keys: numbers(tokens * slots * keyWidth),
  values: numbers(tokens * slots * valueWidth),
};
const layout: LayerCacheLayout = {
  ...{ keySlots: slots, keySlotWidth: keyWidth, valueSlots: slots, valueSlotWidth: valueWidth, keys: 'stock' },
};
const cacheOf = (
  keep: number,
  { first = 0, last = 0, codec = builtInCodecs.f16, policy = builtInPolicies.shadowkv } = {},
): CodedCache & {
  policy: { policy: CachePolicy; keep: number };
} => ({ codec, first, window: last, policy: { policy, keep } });

const keyOf = (slot: number, token: number) =>
  window.keys.subarray((token * slots + slot) * keyWidth, (token * slots + slot + 1) * keyWidth);
const queryOf = (head: number, token: number) =>
  window.queries.subarray((head * tokens + token) * keyWidth, (head * tokens + token + 1) * keyWidth);
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);

function softmax(scores: number[]): number[] {
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** The tokens that a query of a slot reads, from the paper's description by search over all chunks. */
function readBy(slot: number, query: number, keep: number, first: number, last: number): Set<number> {
  const asked = 32 * Math.floor(query / 32);
  const budget = Math.min(asked, Math.max(Math.ceil(keep * asked), first + last, 1));
  const read = new Set<number>();
  for (let token = asked; token <= query; token++) read.add(token);
  if (budget === asked) return new Set(Array.from({ length: query + 1 }, (_, token) => token));
  const exact = (token: number) => token < first || token >= asked - last;
  const ofPolicy = budget - first - last;
  const local = 8 * Math.floor(Math.min(32, ofPolicy / 2) / 8);
  const resident = new Set<number>();
  for (let token = 0; token < asked; token++) {
    if (exact(token) || token >= asked - last - local) resident.add(token);
  }
  const chunks = Array.from({ length: asked / 8 }, (_, chunk) => {
    const members = Array.from({ length: 8 }, (_, i) => 8 * chunk + i);
    const mean = Array.from({ length: keyWidth }, (_, c) =>
      members.reduce((sum, token) => sum + keyOf(slot, token)[c]! / 8, 0),
    );
    const alike = members.map((token) => {
      const key = keyOf(slot, token);
      return dot(key, mean) / Math.sqrt(dot(key, key) * dot(mean, mean));
    });
    return { members, mean: mean.map((x) => fromHalf(toHalf(x))), least: Math.min(...alike) };
  });
  const outliers = Math.floor(Math.floor((ofPolicy - local) / 8) / 6);
  chunks
    .filter(({ members }) => members.every((token) => !resident.has(token)))
    .sort((a, b) => a.least - b.least)
    .slice(0, outliers)
    .forEach(({ members }) => {
      for (const token of members) resident.add(token);
    });
  for (const token of resident) read.add(token);
  const open = chunks.filter(({ members }) => members.some((token) => !resident.has(token)));
  const ofHeads = [0, 1].map((head) => {
    const q = queryOf(slot * 2 + head, query);
    return softmax(open.map(({ mean }) => dot(q, mean)));
  });
  open
    .map((chunk, i) => ({ chunk, worth: Math.max(ofHeads[0]![i]!, ofHeads[1]![i]!) }))
    .sort((a, b) => b.worth - a.worth)
    .slice(0, Math.floor((budget - resident.size) / 8))
    .forEach(({ chunk }) => {
      for (const token of chunk.members) read.add(token);
    });
  return read;
}

it.each([
  [0.5, 0, 0],
  [0.25, 0, 0],
  [0.4, 3, 9],
  [0.05, 0, 0],
])(
  'shadowkv reads what a search by the landmarks finds: %d of the tokens, %i first and %i last exact',
  (keep, first, last) => {
    const expected = new Float64Array(tokens * heads * valueWidth);
    let fewest = Number.POSITIVE_INFINITY;
    for (let query = 0; query < tokens; query++) {
      for (let head = 0; head < heads; head++) {
        const slot = Math.floor(head / 2);
        const read = [...readBy(slot, query, keep, first, last)];
        if (query === tokens - 1) fewest = Math.min(fewest, read.length);
        const weights = softmax(read.map((token) => dot(queryOf(head, query), keyOf(slot, token))));
        read.forEach((token, i) => {
          for (let c = 0; c < valueWidth; c++) {
            const value = window.values[(token * slots + slot) * valueWidth + c]!;
            expected[(query * heads + head) * valueWidth + c]! += weights[i]! * value;
          }
        });
      }
    }
    expect(fewest).toBeLessThan(keep * tokens + 32);
    expectClose(new PolicyLayer(window, cacheOf(keep, { first, last })).attend(window), expected, 1e-5);
  },
);

it('counts keys, landmarks and the values that may be read as of the device, all values as of the host', () => {
  const layers = { layers: [{ cache: layout }] };
  const cache = cacheOf(0.5);
  // 300 tokens: 288 when it was last asked, 144 values of them and the 12 since; 36 landmarks. Two bytes a number, a place of 4 bytes a value.
  const keys = 2 * keyWidth * 300;
  const device = slots * (keys + 2 * keyWidth * 36 + (144 + 12) * (2 * valueWidth + 4));
  expect(codedCacheBytes(layers, cache, 300)).toBe(device);
  expect(hostCacheBytes(layers, cache, 300)).toBe(slots * (288 * 2 * valueWidth + 300 * 8));
  expect(hostCacheBytes(layers, { ...cache, policy: { policy: builtInPolicies.snapkv, keep: 0.5 } }, 300)).toBe(0);
  for (const codec of [builtInCodecs.f16, builtInCodecs.int8]) {
    const coded = cacheOf(0.3, { codec, first: 2, last: 5 });
    const layer = new PolicyLayer(window, coded);
    layer.attend(window);
    expect(layer.byteLength).toBe(codedCacheBytes(layers, coded, tokens));
    expect(layer.hostByteLength).toBe(hostCacheBytes(layers, coded, tokens));
  }
});

it('names a policy whose chunks are none', () => {
  const chosen = (places: number[]): CachePolicy => ({
    ...builtInPolicies.shadowkv,
    fetches: { chunkTokens: 8, choose: () => Int32Array.from(places) },
  });
  for (const places of [[0, 0], [-1], [99], Array.from({ length: 30 }, (_, i) => i)]) {
    const layer = new PolicyLayer(window, cacheOf(0.3, { policy: chosen(places) }));
    expectKvlrError(() => layer.attend(window), 'plugin-invalid', /chunks, ascending, from the cache policy "all keys/);
  }
});
