import { createNormalRandom, type EntryDtype, entryDtypes, type LayerCacheLayout, stockLayout } from '@kvlr/core';
import { memory, tensor, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { decodedEntry } from '../testing/oracles.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { createCacheFormat } from './cache-format.ts';
import { rotateAndAppend } from './rotate-and-append.ts';
import { createRotationTable, readRotation } from './rotation-table.ts';

const headDim = 8;
const half = headDim / 2;
const heads = 4;
const frequencies = Float64Array.from({ length: half }, (_, j) => 50 ** (-j / half));
/** Largest error as a share of the largest number: half a step of a code and the rounding of its offset. */
const tolerances: Record<EntryDtype, number> = { f32: 1e-6, f16: 6e-4, fp8: 0.0625, int8: 6e-3, int4: 0.08 };

const normal = createNormalRandom(9);
const numbers = (count: number) => Float32Array.from({ length: count }, () => normal());

/** Heads side by side, rotated in Float64. */
function rotated(row: Float32Array, position: number): number[] {
  return Array.from(row, (value, index) => {
    const c = index % headDim;
    const angle = position * frequencies[c % half]!;
    const other = row[c < half ? index + half : index - half]!;
    return value * Math.cos(angle) + (c < half ? -other : other) * Math.sin(angle);
  });
}

function productOf(row: number[], matrix: Float32Array, outputs: number): number[] {
  return Array.from({ length: outputs }, (_, o) => row.reduce((sum, x, i) => sum + x * matrix[i * outputs + o]!, 0));
}

interface Case {
  layout: LayerCacheLayout;
  /** Of all heads of a projected row. */
  keyWidth: number;
  encoders: Partial<Record<'keyEncoder' | 'queryEncoder', Float32Array>>;
  /** Keys as the cache is to hold them, and queries, from rotated ones or as they come. */
  keysOf(row: Float32Array, position: number): number[];
  queriesOf(rotated: number[]): number[];
}

const keyEncoder = numbers(3 * headDim * 2 * 7);
const queryEncoder = numbers(heads * headDim * 7);
const cases: Record<'stock' | 'latent' | 'rebuilt', Case> = {
  stock: {
    layout: stockLayout(2, headDim),
    keyWidth: 2 * headDim,
    encoders: {},
    keysOf: rotated,
    queriesOf: (query) => query,
  },
  latent: {
    layout: { keySlots: 2, keySlotWidth: 7, valueSlots: 1, valueSlotWidth: 6, keys: 'latent' },
    keyWidth: 3 * headDim,
    encoders: { keyEncoder, queryEncoder },
    keysOf: (row, position) => productOf(rotated(row, position), keyEncoder, 2 * 7),
    queriesOf: (query) =>
      Array.from({ length: heads }, (_, h) => {
        const encoder = queryEncoder.slice(h * headDim * 7, (h + 1) * headDim * 7);
        return productOf(query.slice(h * headDim, (h + 1) * headDim), encoder, 7);
      }).flat(),
  },
  rebuilt: {
    layout: { keySlots: 1, keySlotWidth: 10, valueSlots: 2, valueSlotWidth: 5, keys: 'rebuilt' },
    keyWidth: 10,
    encoders: {},
    keysOf: (row) => Array.from(row),
    queriesOf: (query) => query,
  },
};

describe.each(await testedBackends())('appending on $backend', ({ backend, skip }) => {
  const all = (['stock', 'latent', 'rebuilt'] as const).flatMap((kind) =>
    entryDtypes.map((dtype) => ({ kind, dtype })),
  );
  const table = backend === 'webgpu' ? all.filter((_, index) => [0, 4, 6, 7, 11].includes(index)) : all;

  it.skipIf(skip).each(table)('rotates and writes $kind keys in $dtype at their places', async ({ kind, dtype }) => {
    await useBackend(backend);
    const before = memory().numTensors;
    await withoutGpuErrors(async () => {
      const { layout, keyWidth, encoders, keysOf, queriesOf } = cases[kind];
      const format = createCacheFormat(layout, dtype);
      const rowWidth = heads * headDim + keyWidth + layout.valueSlots * layout.valueSlotWidth;
      const rows = numbers(2 * 2 * rowWidth);
      const projected = tensor(rows, [4, rowWidth]);
      const cache = zeros([2, 9, format.entryWords], 'int32');
      // The second sequence is a long one of which the places lag 300 behind; it gets one token alone.
      const sequences = tensor([4, 2, 0, 305, 1, 300], [2, 3], 'int32');
      const rotation = tensor(createRotationTable(frequencies, 310), [258, headDim]);
      const shapes = {
        keyEncoder: [keyWidth, layout.keySlots * layout.keySlotWidth],
        queryEncoder: [heads, headDim, layout.keySlotWidth],
      };
      const encoderTensors = Object.fromEntries(
        Object.entries(encoders).map(([name, values]) => [name, tensor(values, shapes[name as keyof typeof shapes])]),
      );
      const queries = rotateAndAppend(
        { projected, cache, sequences, rotation, ...encoderTensors },
        { format, window: { window: 0, sinks: 0 }, ring: false, numAttentionHeads: heads, headDim, tokens: 2 },
      );
      const words = Int32Array.from(await cache.data<'int32'>());
      const queryValues = await queries.data<'float32'>();
      const queryStride = queries.size / 4;
      for (const [row, sequence, place, position] of [
        [0, 0, 4, 4],
        [1, 0, 5, 5],
        [2, 1, 5, 305],
      ] as const) {
        const source = rows.subarray(row * rowWidth, (row + 1) * rowWidth);
        const keys = keysOf(source.slice(heads * headDim, heads * headDim + keyWidth), position);
        const values = source.slice(heads * headDim + keyWidth);
        const start = (sequence * 9 + place) * format.entryWords;
        const received = decodedEntry(words, format, start);
        words.fill(0, start, start + format.entryWords);
        const largest = Math.max(...keys.map(Math.abs), ...values.map(Math.abs));
        [...keys, ...values].forEach((expected, c) => {
          const number = [...received.keys, ...received.values][c]!;
          expect(Math.abs(number - expected)).toBeLessThan(tolerances[dtype] * largest);
        });
        queriesOf(rotated(source.slice(0, heads * headDim), position)).forEach((expected, c) => {
          expect(queryValues[row * queryStride + c]).toBeCloseTo(expected / Math.sqrt(headDim), 4);
        });
      }
      // No other word was written.
      expect(words.every((word) => word === 0)).toBe(true);
      for (const each of [projected, cache, sequences, rotation, queries, ...Object.values(encoderTensors)])
        each.dispose();
    });
    expect(memory().numTensors).toBe(before);
  });
});

it('gives every position its angle as precisely as float32', () => {
  const frequencies = [1, 0.1, 1e-4];
  const table = createRotationTable(frequencies, 100_000);
  const rotation = new Float32Array(6);
  for (const position of [0, 1, 255, 256, 257, 4095, 70_001, 99_999]) {
    readRotation(table, position, 3, rotation);
    frequencies.forEach((frequency, j) => {
      expect(Math.abs(rotation[j]! - Math.cos(position * frequency))).toBeLessThan(3e-7);
      expect(Math.abs(rotation[3 + j]! - Math.sin(position * frequency))).toBeLessThan(3e-7);
    });
  }
});
