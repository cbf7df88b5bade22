import { createNormalRandom, type EntryDtype, type LayerCacheLayout, stockLayout } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import { memory, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { createCacheFormat, formatOfSlot, type SlotRow } from '../cache/cache-format.ts';
import { rotateAndAppend } from '../cache/rotate-and-append.ts';
import { createRotationTable } from '../cache/rotation-table.ts';
import { encodeSlot, viewCache } from '../cache/slot-codec.ts';
import { decodedEntry } from '../testing/oracles.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { prefillAttention } from './attention.ts';

const [heads, headDim] = [8, 12];
const half = headDim / 2;
const frequencies = Float64Array.from({ length: half }, (_, j) => 100 ** (-j / half));
const everything = { window: 0, sinks: 0 };
/** Entries that a slot has room for, beside what it holds. */
const room = 48;

interface Case {
  layout: LayerCacheLayout;
  dtype: EntryDtype;
  /** Tokens of each sequence so far, and how many of them each of its slots holds. */
  lengths: number[];
  held: number[][];
  /** New tokens of each sequence, one step after the other. */
  steps: number[][];
}

const cases: Record<string, Case> = {
  'two slots of halves': {
    layout: stockLayout(2, headDim),
    dtype: 'f16',
    lengths: [200, 9],
    held: [
      [130, 3],
      [0, 7],
    ],
    steps: [
      [5, 3],
      [1, 1],
    ],
  },
  'four slots, values of another width': {
    layout: { ...stockLayout(4, headDim), valueSlotWidth: 10 },
    dtype: 'f32',
    lengths: [400, 90],
    held: [
      [0, 65, 1, 300],
      [2, 2, 90, 0],
    ],
    steps: [[40, 0]],
  },
};

/** A head's numbers at a position, in Float64. */
function rotated(numbers: ArrayLike<number>, position: number): number[] {
  return Array.from({ length: headDim }, (_, c) => {
    const angle = position * frequencies[c % half]!;
    const [x, y] = [numbers[c % half]!, numbers[half + (c % half)]!];
    return c < half ? x * Math.cos(angle) - y * Math.sin(angle) : y * Math.cos(angle) + x * Math.sin(angle);
  });
}

interface Entry {
  key: Float32Array;
  value: Float32Array;
  bias: number;
}

/** Attention of one query in Float64, from its definition. */
function oracle(query: number[], entries: Entry[]): number[] {
  const scores = entries.map(({ key, bias }) =>
    query.reduce((sum, q, c) => sum + (q * key[c]!) / Math.sqrt(headDim), bias),
  );
  const most = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - most));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from(entries[0]!.value, (_, c) =>
    entries.reduce((sum, { value }, n) => sum + (weights[n]! / total) * value[c]!, 0),
  );
}

/** Slots side by side in one cache, filled with numbers, and what kernels are told of them. */
function slotsOfCase({ layout, dtype, lengths, held }: Case, numbers: (count: number) => Float32Array) {
  const format = createCacheFormat(layout, dtype);
  const ofSlot = formatOfSlot(format);
  const rows: SlotRow[] = [];
  let places = 0;
  for (const [b, counts] of held.entries()) {
    for (const count of counts) {
      rows.push([places, lengths[b]! - count]);
      places += count + room;
    }
  }
  const words = new Int32Array(places * ofSlot.entryWords);
  for (const [row, count] of held.flat().entries()) {
    for (let place = rows[row]![0]; place < rows[row]![0] + count; place++) {
      const at = place * ofSlot.entryWords;
      encodeSlot(viewCache(words), at, dtype, numbers(headDim), 0, headDim);
      const { valueSlotWidth: width } = layout;
      encodeSlot(viewCache(words), at + format.keySlotWords, dtype, numbers(width), 0, width);
    }
  }
  return { format, ofSlot, rows, places, words };
}

describe.each(await testedBackends())('attention over slots of unequal lengths on $backend', ({ backend, skip }) => {
  const table = Object.keys(cases).flatMap((name) => [true, false].map((biased) => ({ name, biased })));

  it.skipIf(skip).each(table)('$name, with biases: $biased', async ({ name, biased }) => {
    await useBackend(backend);
    const before = memory().numTensors;
    await withoutGpuErrors(async () => {
      const given = cases[name]!;
      const { keySlots, valueSlotWidth } = given.layout;
      const normal = createNormalRandom(3);
      const numbers = (count: number) => Float32Array.from({ length: count }, () => normal());
      const { format, ofSlot, rows: slotRows, places, words } = slotsOfCase(given, numbers);
      const added = Float32Array.from({ length: places }, () => (biased ? 2 * normal() : 0));
      const kept: Tensor[] = [];
      const keepTensor = (each: Tensor) => kept[kept.push(each) - 1]!;
      const cache = keepTensor(tensor(words.slice(), [1, places, ofSlot.entryWords], 'int32'));
      const slots = keepTensor(tensor(slotRows.flat(), [slotRows.length, 2], 'int32'));
      const biases = biased ? keepTensor(tensor(added)) : undefined;
      const rotation = keepTensor(tensor(createRotationTable(frequencies, 512), [258, headDim]));
      const batch = given.lengths.length;
      const rowWidth = heads * headDim + keySlots * (headDim + valueSlotWidth);
      const lengths = [...given.lengths];

      for (const counts of given.steps) {
        const tokens = Math.max(...counts);
        const rows = numbers(batch * tokens * rowWidth);
        const ofStep = lengths.flatMap((length, b) => [length, counts[b]!, 0]);
        const attended = tidy(() => {
          const projected = tensor(rows, [batch * tokens, rowWidth]);
          const sequences = tensor(ofStep, [batch, 3], 'int32');
          const attributes = { format, window: everything, ring: false, numAttentionHeads: heads, headDim, tokens };
          const queries = rotateAndAppend({ projected, cache, sequences, rotation, slots }, attributes);
          const longest = Math.max(
            ...slotRows.map(([, shift], row) => {
              const b = Math.floor(row / keySlots);
              return lengths[b]! + counts[b]! - shift;
            }),
          );
          const inputs = { queries, cache, sequences, slots, ...(biases && { biases }) };
          return prefillAttention(inputs, { format, window: everything, longest });
        });
        const result = await attended.data<'float32'>();
        attended.dispose();
        const now = Int32Array.from(await cache.data<'int32'>());
        for (let row = 0; row < batch * tokens; row++) {
          const [b, token] = [Math.floor(row / tokens), row % tokens];
          if (token >= counts[b]!) continue;
          const position = lengths[b]! + token;
          for (let slot = 0; slot < keySlots; slot++) {
            const [first, shift] = slotRows[b * keySlots + slot]!;
            const entryAt = (place: number) => decodedEntry(now, ofSlot, place * ofSlot.entryWords);
            const keyAt = row * rowWidth + (heads + slot) * headDim;
            const key = rotated(rows.subarray(keyAt, keyAt + headDim), position);
            expect(differenceByRange(entryAt(first + position - shift).keys, key)).toBeLessThan(1e-3);
            const entries = Array.from({ length: position + 1 - shift }, (_, n): Entry => {
              const { keys, values } = entryAt(first + n);
              return { key: keys, value: values, bias: added[first + n]! };
            });
            const perSlot = heads / keySlots;
            for (let head = slot * perSlot; head < (slot + 1) * perSlot; head++) {
              const queryAt = row * rowWidth + head * headDim;
              const query = rotated(rows.subarray(queryAt, queryAt + headDim), position);
              const at = (row * heads + head) * valueSlotWidth;
              const received = result.slice(at, at + valueSlotWidth);
              expect(differenceByRange(received, oracle(query, entries))).toBeLessThan(1e-5);
            }
          }
        }
        counts.forEach((count, b) => {
          lengths[b]! += count;
        });
      }
      // Words of no new token are as they were.
      const after = Int32Array.from(await cache.data<'int32'>());
      slotRows.forEach(([first, shift], row) => {
        const b = Math.floor(row / keySlots);
        const from = (first + given.lengths[b]! - shift) * ofSlot.entryWords;
        const to = (first + lengths[b]! - shift) * ofSlot.entryWords;
        after.set(words.subarray(from, to), from);
      });
      expect(after).toEqual(words);
      for (const each of kept) each.dispose();
    });
    expect(memory().numTensors).toBe(before);
  });
});
