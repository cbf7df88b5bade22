import { createNormalRandom, type EntryDtype, entryDtypes, type LayerCacheLayout, stockLayout } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import { memory, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CacheFormat, type CacheWindow, createCacheFormat, entriesOfLength } from '../cache/cache-format.ts';
import { rotateAndAppend } from '../cache/rotate-and-append.ts';
import { createRotationTable } from '../cache/rotation-table.ts';
import { decodedEntry } from '../testing/oracles.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { appendAndAttend, prefillAttention } from './attention.ts';
import { DECODE_LANES, PREFILL_TILE, planDecode, planPrefill, prefillFours } from './workgroup-plan.ts';

interface Case {
  heads: number;
  headDim: number;
  layout: LayerCacheLayout;
  /** Of a stretch of the prompt. */
  tokens: number;
}

const latent = (keySlots: number, keySlotWidth: number, valueSlots: number): LayerCacheLayout => ({
  keySlots,
  keySlotWidth,
  valueSlots,
  valueSlotWidth: 8,
  keys: 'latent',
});
const cases = {
  'all heads': { heads: 4, headDim: 8, layout: stockLayout(4, 8), tokens: 37 },
  groups: { heads: 8, headDim: 12, layout: stockLayout(2, 12), tokens: 37 },
  'one KV head': { heads: 8, headDim: 40, layout: stockLayout(1, 40), tokens: 37 },
  'one latent': { heads: 4, headDim: 8, layout: latent(1, 18, 2), tokens: 37 },
  'a latent for each group': { heads: 8, headDim: 8, layout: latent(4, 9, 2), tokens: 37 },
  'groups of 128': { heads: 4, headDim: 128, layout: stockLayout(2, 128), tokens: 20 },
  'one KV head of 128': { heads: 8, headDim: 128, layout: stockLayout(1, 128), tokens: 20 },
  'groups of 256': { heads: 4, headDim: 256, layout: stockLayout(2, 256), tokens: 20 },
  'one KV head of 256': { heads: 8, headDim: 256, layout: stockLayout(1, 256), tokens: 20 },
  'a wide latent': { heads: 2, headDim: 8, layout: { ...latent(1, 42, 1), valueSlotWidth: 326 }, tokens: 20 },
  'a slot as wide as they come': { heads: 2, headDim: 2048, layout: stockLayout(1, 2048), tokens: 5 },
} satisfies Record<string, Case>;
type CaseName = keyof typeof cases;
/** Latent keys are made of so many heads. */
const sourceHeads = 4;

function modelOf({ heads, headDim, layout }: Case) {
  const normal = createNormalRandom(5);
  const numbers = (count: number, scale: number) => Float32Array.from({ length: count }, () => scale * normal());
  const isLatent = layout.keys === 'latent';
  const keyWidth = isLatent ? sourceHeads * headDim : layout.keySlots * headDim;
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, j) => 100 ** ((-2 * j) / headDim));
  return {
    frequencies,
    keyWidth,
    rowWidth: heads * headDim + keyWidth + layout.valueSlots * layout.valueSlotWidth,
    keyEncoder: numbers(isLatent ? keyWidth * layout.keySlots * layout.keySlotWidth : 0, 0.3),
    queryEncoder: numbers(isLatent ? heads * headDim * layout.keySlotWidth : 0, 0.3),
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
    const queries = new Map([...new Set(queryPositions)].map((position) => [position, queryAt(position)]));
    const keyStart = Math.floor((h * layout.keySlots) / heads) * layout.keySlotWidth;
    const valueStart = Math.floor((h * layout.valueSlots) / heads) * layout.valueSlotWidth;
    const scores = entries.map(({ keys }, n) =>
      queries.get(queryPositions[n]!)!.reduce((sum, q, c) => sum + (q * keys[keyStart + c]!) / Math.sqrt(headDim), 0),
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

/** The first entries of a sequence. */
async function entriesOf(cache: Tensor, format: CacheFormat, sequence: number, count: number) {
  const words = Int32Array.from(await cache.data<'int32'>());
  const capacity = cache.shape[1]!;
  return Array.from({ length: count }, (_, n) =>
    decodedEntry(words, format, (sequence * capacity + n) * format.entryWords),
  );
}

const allCases = (Object.keys(cases) as CaseName[]).flatMap((name) =>
  entryDtypes.map((dtype) => [name, dtype] as const),
);
/** An emulated GPU takes seconds to build the shaders of one case: each layout once, each dtype several times. */
const gpuCases = [
  ['all heads', 'f32'],
  ['groups', 'f16'],
  ['one KV head', 'int8'],
  ['one latent', 'int4'],
  ['a latent for each group', 'f16'],
  ['groups of 128', 'int8'],
  ['one KV head of 128', 'f16'],
  ['groups of 256', 'int4'],
  ['one KV head of 256', 'f32'],
  ['a slot as wide as they come', 'f32'],
  ['groups', 'fp8'],
] as const;

/** A cache and what its kernels are called with. */
function attentionOf(
  given: Case,
  dtype: EntryDtype,
  batch: number,
  capacity: number,
  window: CacheWindow,
  ring = window.window > 0,
) {
  const { layout, heads, headDim } = given;
  const model = modelOf(given);
  const format = createCacheFormat(layout, dtype);
  const cache = zeros([batch, capacity, format.entryWords], 'int32');
  const rotation = tensor(createRotationTable(model.frequencies, 768), [259, headDim]);
  const encoders =
    layout.keys === 'latent'
      ? {
          keyEncoder: tensor(model.keyEncoder, [model.keyWidth, layout.keySlots * layout.keySlotWidth]),
          queryEncoder: tensor(model.queryEncoder, [heads, headDim, layout.keySlotWidth]),
        }
      : {};
  return {
    model,
    format,
    cache,
    /** Appends `length` rows of each sequence, of which `added` are real, and attends from them. */
    async attend(rows: Float32Array, held: number[], added: number[], length: number): Promise<Float32Array> {
      const projected = tensor(rows, [batch * length, model.rowWidth]);
      const sequences = tensor(
        held.flatMap((tokens, b) => [tokens, added[b]!, 0]),
        [batch, 3],
        'int32',
      );
      const shared = { format, window, ring, numAttentionHeads: heads, headDim, tokens: length };
      const inputs = { projected, cache, sequences, rotation, ...encoders };
      const longest = Math.max(
        ...held.map((tokens, b) => (ring ? entriesOfLength(tokens + added[b]!, window) : tokens + added[b]!)),
      );
      const attended = tidy(() => {
        if (length === 1) return appendAndAttend(inputs, shared, longest);
        const queries = rotateAndAppend(inputs, shared);
        return prefillAttention({ queries, cache, sequences }, { format, window, longest });
      });
      const result = await attended.data<'float32'>();
      for (const each of [projected, sequences, attended]) each.dispose();
      return result;
    },
    dispose() {
      for (const each of [cache, rotation, ...Object.values(encoders)]) each.dispose();
    },
  };
}

describe.each(await testedBackends())('attention over a cache on $backend', ({ backend, skip }) => {
  it.skipIf(skip).each(backend === 'webgpu' ? gpuCases : allCases)(
    '%s, %s: prompts of unequal length, then a token each',
    async (name, dtype) => {
      await useBackend(backend);
      const before = memory().numTensors;
      await withoutGpuErrors(async () => {
        const given: Case = cases[name];
        const { heads, layout, tokens } = given;
        const { model, format, cache, attend, dispose } = attentionOf(given, dtype, 3, 150, { window: 0, sinks: 0 });
        const counts = [tokens, 0, Math.ceil(tokens / 2)];
        const held = [0, 0, 0];
        // Two stretches of a prompt and two single tokens: from the start, behind a prefix, and with one sequence at rest.
        for (const [stretch, length] of [tokens, tokens, 1, 1].entries()) {
          const rows = model.rows(3 * length * model.rowWidth);
          const added = counts.map((count) => Math.min(count, length));
          const result = await attend(rows, held, added, length);
          const width = heads * layout.valueSlotWidth;
          for (const [b, count] of added.entries()) {
            const entries = await entriesOf(cache, format, b, held[b]! + count);
            const looked = stretch % 2 === 0 ? [0, count - 1] : [Math.floor(count / 2)];
            for (const token of looked.filter((token) => token >= 0 && token < count)) {
              const row = b * length + token;
              const position = held[b]! + token;
              const visible = entries.slice(0, position + 1);
              const source = rows.subarray(row * model.rowWidth, (row + 1) * model.rowWidth);
              const expected = oracle(given, model, source, Array(position + 1).fill(position), visible);
              expect(differenceByRange(result.slice(row * width, (row + 1) * width), expected)).toBeLessThan(1e-5);
            }
            const padding = result.slice((b * length + count) * width, (b + 1) * length * width);
            expect(padding.every((value) => value === 0)).toBe(true);
            held[b]! += count;
          }
        }
        dispose();
      });
      expect(memory().numTensors).toBe(before);
    },
  );

  it.skipIf(skip).each([
    ['groups', 'f16', { window: 0, sinks: 0 }],
    ['one latent', 'f32', { window: 70, sinks: 3 }],
    ['all heads', 'int8', { window: 250, sinks: 66 }],
    ['groups of 256', 'f32', { window: 20, sinks: 0 }],
    ['a wide latent', 'f16', { window: 0, sinks: 0 }],
  ] as const)('%s, %s: stretches of a long prompt, %o', async (name, dtype, window) => {
    await useBackend(backend);
    await withoutGpuErrors(async () => {
      const given: Case = cases[name];
      const { heads, layout } = given;
      const { model, format, cache, attend, dispose } = attentionOf(given, dtype, 2, 600, window, false);
      const held = [0, 0];
      // As many entries as are worth several parts, from a stretch on that ends amid a tile.
      for (const length of [250, 39, 230]) {
        const rows = model.rows(2 * length * model.rowWidth);
        const added = [length, length - 7];
        const result = await attend(rows, held, added, length);
        const width = heads * layout.valueSlotWidth;
        for (const [b, count] of added.entries()) {
          const entries = await entriesOf(cache, format, b, held[b]! + count);
          for (const token of [0, Math.floor(count / 3), count - 1]) {
            const position = held[b]! + token;
            const seen = entries
              .slice(0, position + 1)
              .map((entry, place) => ({ entry, isSink: place < window.sinks, place }))
              .filter(({ isSink, place }) => window.window === 0 || isSink || position - place < window.window);
            const seenFrom = seen.map(({ isSink }) =>
              isSink && window.window > 0 ? Math.min(position, window.sinks + window.window - 1) : position,
            );
            const row = b * length + token;
            const source = rows.subarray(row * model.rowWidth, (row + 1) * model.rowWidth);
            const expected = oracle(
              given,
              model,
              source,
              seenFrom,
              seen.map(({ entry }) => entry),
            );
            expect(differenceByRange(result.slice(row * width, (row + 1) * width), expected)).toBeLessThan(1e-5);
          }
          const padding = result.slice((b * length + count) * width, (b + 1) * length * width);
          expect(padding.every((value) => value === 0)).toBe(true);
          held[b]! += count;
        }
      }
      dispose();
    });
  });

  it.skipIf(skip).each(['groups of 256', 'a slot as wide as they come'] as const)(
    '%s: a token at a time over sinks and a window',
    async (name) => {
      await useBackend(backend);
      await withoutGpuErrors(async () => {
        const given: Case = cases[name];
        const window = { window: 4, sinks: 2 };
        const { model, format, cache, attend, dispose } = attentionOf(given, 'f32', 1, 6, window);
        for (let position = 0; position < 9; position++) {
          const row = model.rows(model.rowWidth);
          const result = await attend(row, [position], [1], 1);
          const entries = await entriesOf(cache, format, 0, Math.min(position + 1, 6));
          // The sinks stand just before the window, however far on the text is.
          const seenFrom = entries.map((_, place) => (place < 2 ? Math.min(position, 5) : position));
          expect(differenceByRange(result, oracle(given, model, row, seenFrom, entries))).toBeLessThan(1e-5);
        }
        dispose();
      });
    },
  );
});

it('fits in the workgroup memory that every GPU grants, whatever the heads', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(1, 2, 4, 8),
      fc.constantFrom(1, 2, 3, 4, 8, 16),
      fc.integer({ min: 1, max: 2048 }),
      fc.integer({ min: 1, max: 2048 }),
      fc.constantFrom(...entryDtypes),
      fc.constantFrom(1, 2),
      (keySlots, headsOfSlot, keySlotWidth, valueSlotWidth, dtype, variants) => {
        const layout = { keySlots, keySlotWidth, valueSlots: keySlots, valueSlotWidth, keys: 'latent' as const };
        const format = createCacheFormat(layout, dtype);
        const decode = planDecode(format, keySlots * headsOfSlot, variants);
        const queries = (rows: number, held: boolean) => (held ? variants * rows * keySlotWidth : 1);
        const decodeNumbers =
          decode.numbers +
          4 * decode.headsAtOnce * DECODE_LANES +
          2 * (DECODE_LANES / decode.team) * decode.heads +
          (decode.canAppend ? Math.max(keySlotWidth, valueSlotWidth) + 2 * DECODE_LANES : 0);
        expect(decode.numbers).toBeGreaterThanOrEqual(queries(decode.heads, decode.holdsQueries));
        expect(decode.numbers).toBeGreaterThanOrEqual(decode.heads * valueSlotWidth);
        expect(4 * decodeNumbers).toBeLessThanOrEqual(16384);
        const prefill = planPrefill(format);
        const { staged, weights } = prefillFours(prefill);
        expect(16 * (staged + weights)).toBeLessThanOrEqual(16384);
        const columns = 4 * PREFILL_TILE.columnLanes * prefill.sumsOfLane * prefill.valueBlocks;
        expect(columns).toBeGreaterThanOrEqual(valueSlotWidth);
        expect(PREFILL_TILE.entries % prefill.valueEntries).toBe(0);
      },
    ),
    { numRuns: 2000 },
  );
});
