import { type CacheDtype, createNormalRandom, type LayerCacheLayout, stockLayout } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import { memory, type Tensor, tensor, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { createCacheFormat } from '../cache/cache-format.ts';
import { rotateAndAppend } from '../cache/rotate-and-append.ts';
import { createRotationTable } from '../cache/rotation-table.ts';
import { decodeSlot, viewCache } from '../cache/slot-codec.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { decodeAttention, prefillAttention } from './attention.ts';

interface Case {
  name: string;
  heads: number;
  headDim: number;
  layout: LayerCacheLayout;
}

const latent = (keySlots: number, keySlotWidth: number, valueSlots: number): LayerCacheLayout => ({
  keySlots,
  keySlotWidth,
  valueSlots,
  valueSlotWidth: 8,
  keys: 'latent',
});
const cases: Case[] = [
  { name: 'all heads', heads: 4, headDim: 8, layout: stockLayout(4, 8) },
  { name: 'groups', heads: 8, headDim: 12, layout: stockLayout(2, 12) },
  { name: 'one wide KV head', heads: 8, headDim: 40, layout: stockLayout(1, 40) },
  { name: 'one latent', heads: 4, headDim: 8, layout: latent(1, 18, 2) },
  { name: 'a latent for each group', heads: 8, headDim: 8, layout: latent(4, 9, 2) },
];
/** Latent keys are made of so many heads. */
const sourceHeads = 4;

function modelOf({ heads, headDim, layout }: Case) {
  const normal = createNormalRandom(5);
  const numbers = (count: number, scale: number) => Float32Array.from({ length: count }, () => scale * normal());
  const keyWidth = layout.keys === 'latent' ? sourceHeads * headDim : layout.keySlots * headDim;
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, j) => 100 ** ((-2 * j) / headDim));
  return {
    frequencies,
    keyWidth,
    rowWidth: heads * headDim + keyWidth + layout.valueSlots * layout.valueSlotWidth,
    keyEncoder: numbers(keyWidth * layout.keySlots * layout.keySlotWidth, 0.3),
    queryEncoder: numbers(heads * headDim * layout.keySlotWidth, 0.3),
    rows: (count: number) => numbers(count, 1),
  };
}

/** Attention of one token in Float64 from the definition, over entries that are read back from the cache. */
function oracle(
  given: Case,
  model: ReturnType<typeof modelOf>,
  row: Float32Array,
  queryPositions: number[],
  entries: { keys: Float32Array; values: Float32Array }[],
): number[] {
  const { heads, headDim, layout } = given;
  const result: number[] = [];
  for (let h = 0; h < heads; h++) {
    const queryAt = (position: number): number[] => {
      const half = headDim / 2;
      const rotated = Array.from({ length: headDim }, (_, c) => {
        const angle = position * model.frequencies[c % half]!;
        const [x, y] = [row[h * headDim + (c % half)]!, row[h * headDim + half + (c % half)]!];
        return c < half ? x * Math.cos(angle) - y * Math.sin(angle) : y * Math.cos(angle) + x * Math.sin(angle);
      });
      if (layout.keys !== 'latent') return rotated;
      return Array.from({ length: layout.keySlotWidth }, (_, c) =>
        rotated.reduce((sum, q, i) => sum + q * model.queryEncoder[(h * headDim + i) * layout.keySlotWidth + c]!, 0),
      );
    };
    const keyStart = Math.floor((h * layout.keySlots) / heads) * layout.keySlotWidth;
    const valueStart = Math.floor((h * layout.valueSlots) / heads) * layout.valueSlotWidth;
    const scores = entries.map(({ keys }, n) =>
      queryAt(queryPositions[n]!).reduce((sum, q, c) => sum + (q * keys[keyStart + c]!) / Math.sqrt(headDim), 0),
    );
    const highest = Math.max(...scores);
    const weights = scores.map((score) => Math.exp(score - highest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let c = 0; c < layout.valueSlotWidth; c++) {
      result.push(entries.reduce((sum, { values }, n) => sum + (weights[n]! / total) * values[valueStart + c]!, 0));
    }
  }
  return result;
}

/** What a cache's entries hold, as the kernels are to see them. */
async function readCache(cache: Tensor, given: Case, dtype: CacheDtype, sequence: number, count: number) {
  const { layout } = given;
  const format = createCacheFormat(layout, dtype);
  const view = viewCache(Int32Array.from((await cache.data()) as Int32Array));
  const [, capacity] = cache.shape as [number, number];
  return Array.from({ length: count }, (_, n) => {
    const start = (sequence * capacity + n) * format.entryWords;
    const keys = new Float32Array(layout.keySlots * layout.keySlotWidth);
    const values = new Float32Array(layout.valueSlots * layout.valueSlotWidth);
    for (let slot = 0; slot < layout.keySlots; slot++) {
      const { keySlotWidth } = layout;
      decodeSlot(view, start + slot * format.keySlotWords, dtype, keys, slot * keySlotWidth, keySlotWidth);
    }
    for (let slot = 0; slot < layout.valueSlots; slot++) {
      const at = start + layout.keySlots * format.keySlotWords + slot * format.valueSlotWords;
      decodeSlot(view, at, dtype, values, slot * layout.valueSlotWidth, layout.valueSlotWidth);
    }
    return { keys, values };
  });
}

const dtypes: CacheDtype[] = ['f32', 'f16', 'int8', 'int4'];
const none = { window: 0, sinks: 0 };

describe.each(await testedBackends())('attention over a cache on $backend', ({ backend, skip }) => {
  const all = cases.flatMap((given) => dtypes.map((dtype) => ({ given, dtype, name: given.name })));
  // An emulated GPU takes seconds to build the shaders of one case: each layout and each dtype once.
  const table = backend === 'webgpu' ? all.filter((_, index) => index % 5 === 0 || index === 17) : all;

  it.skipIf(skip).each(table)(
    '$name, $dtype: prompts of unequal length, then a token each',
    async ({ given, dtype }) => {
      await useBackend(backend);
      const before = memory().numTensors;
      await withoutGpuErrors(async () => {
        const { layout, heads, headDim } = given;
        const model = modelOf(given);
        const format = createCacheFormat(layout, dtype);
        const capacity = 300;
        const tokens = 37;
        const cache = zeros([3, capacity, format.entryWords], 'int32');
        const rotation = tensor(createRotationTable(model.frequencies, 400), [258, headDim]);
        const keyEncoder = tensor(model.keyEncoder, [model.keyWidth, layout.keySlots * layout.keySlotWidth]);
        const queryEncoder = tensor(model.queryEncoder, [heads, headDim, layout.keySlotWidth]);
        const encoders = layout.keys === 'latent' ? { keyEncoder, queryEncoder } : {};
        const shared = { format, window: none, ring: false, numAttentionHeads: heads, headDim };
        const counts = [37, 0, 20];
        const held = [0, 0, 0];
        // Two stretches of a prompt and two single tokens: from the start, behind a prefix, and with one sequence at rest.
        for (const [stretch, length] of [tokens, tokens, 1, 1].entries()) {
          const rows = model.rows(3 * length * model.rowWidth);
          const added = counts.map((count) => Math.min(count, length));
          const projected = tensor(rows, [3 * length, model.rowWidth]);
          const sequences = tensor(
            held.flatMap((tokens, b) => [tokens, added[b]!, 0]),
            [3, 3],
            'int32',
          );
          const queries = rotateAndAppend(
            { projected, cache, sequences, rotation, ...encoders },
            { ...shared, tokens: length },
          );
          const longest = Math.max(...held.map((tokens, b) => tokens + added[b]!));
          const attend = length === 1 ? decodeAttention : prefillAttention;
          const attended = attend({ queries, cache, sequences }, { format, window: none, longest });
          const result = (await attended.data()) as Float32Array;
          const width = heads * layout.valueSlotWidth;
          for (const [b, count] of added.entries()) {
            const entries = await readCache(cache, given, dtype, b, held[b]! + count);
            for (const token of stretch % 2 === 0 ? [0, count - 1] : [Math.floor(count / 2)]) {
              const row = b * length + token;
              const received = result.slice(row * width, (row + 1) * width);
              if (token < 0 || token >= count) continue;
              const position = held[b]! + token;
              const visible = entries.slice(0, position + 1);
              const source = rows.subarray(row * model.rowWidth, (row + 1) * model.rowWidth);
              const expected = oracle(
                given,
                model,
                source,
                visible.map(() => position),
                visible,
              );
              expect(differenceByRange(received, expected)).toBeLessThan(1e-5);
            }
            if (count < length)
              expect(
                result.slice((b * length + count) * width, (b + 1) * length * width).every((value) => value === 0),
              ).toBe(true);
            held[b]! += count;
          }
          for (const each of [projected, sequences, queries, attended]) each.dispose();
        }
        for (const each of [cache, rotation, keyEncoder, queryEncoder]) each.dispose();
      });
      expect(memory().numTensors).toBe(before);
    },
  );
});
