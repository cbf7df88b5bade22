import { type CacheDtype, createNormalRandom, type LayerCacheLayout, stockLayout } from '@kvlr/core';
import { memory, tensor, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { createCacheFormat } from './cache-format.ts';
import { rotateAndAppend } from './rotate-and-append.ts';
import { createRotationTable, readRotation } from './rotation-table.ts';
import { decodeSlot, viewCache } from './slot-codec.ts';

const headDim = 8;
const half = headDim / 2;
const heads = 4;
const frequencies = Float64Array.from({ length: half }, (_, j) => 50 ** (-j / half));
const layouts: Record<string, LayerCacheLayout> = {
  stock: stockLayout(2, headDim),
  latent: { keySlots: 2, keySlotWidth: 7, valueSlots: 1, valueSlotWidth: 6, keys: 'latent' },
  rebuilt: { keySlots: 1, keySlotWidth: 10, valueSlots: 2, valueSlotWidth: 5, keys: 'rebuilt' },
};
/** Largest error as a share of the largest number: half a step of a code and the rounding of its offset. */
const tolerances: Record<CacheDtype, number> = { f32: 1e-6, f16: 6e-4, int8: 6e-3, int4: 0.08 };

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

describe.each(await testedBackends())('appending on $backend', ({ backend, skip }) => {
  const all = Object.keys(layouts).flatMap((kind) =>
    (['f32', 'f16', 'int8', 'int4'] as const).map((dtype) => ({ kind, dtype })),
  );
  const table = backend === 'webgpu' ? all.filter((_, index) => [0, 3, 5, 6, 9].includes(index)) : all;

  it.skipIf(skip).each(table)('rotates and writes $kind keys in $dtype at their places', async ({ kind, dtype }) => {
    await useBackend(backend);
    const before = memory().numTensors;
    await withoutGpuErrors(async () => {
      const layout = layouts[kind]!;
      const format = createCacheFormat(layout, dtype);
      const keySize = layout.keySlots * layout.keySlotWidth;
      const keyWidth = kind === 'latent' ? 3 * headDim : keySize;
      const valueWidth = layout.valueSlots * layout.valueSlotWidth;
      const rowWidth = heads * headDim + keyWidth + valueWidth;
      const rows = numbers(2 * 2 * rowWidth);
      const encoders = { key: numbers(keyWidth * keySize), query: numbers(heads * headDim * layout.keySlotWidth) };
      const projected = tensor(rows, [4, rowWidth]);
      const cache = zeros([2, 9, format.entryWords], 'int32');
      // The second sequence is a long one of which the places lag 300 behind; it gets one token alone.
      const sequences = tensor([4, 2, 0, 305, 1, 300], [2, 3], 'int32');
      const rotation = tensor(createRotationTable(frequencies, 310), [258, headDim]);
      const keyEncoder = tensor(encoders.key, [keyWidth, keySize]);
      const queryEncoder = tensor(encoders.query, [heads, headDim, layout.keySlotWidth]);
      const queries = rotateAndAppend(
        { projected, cache, sequences, rotation, ...(kind === 'latent' ? { keyEncoder, queryEncoder } : {}) },
        { format, window: { window: 0, sinks: 0 }, ring: false, numAttentionHeads: heads, headDim, tokens: 2 },
      );
      const words = Int32Array.from((await cache.data()) as Int32Array);
      const view = viewCache(words);
      const queryValues = (await queries.data()) as Float32Array;
      const queryStride = queries.size / 4;
      const written = new Set<number>();
      for (const [row, sequence, place, position] of [
        [0, 0, 4, 4],
        [1, 0, 5, 5],
        [2, 1, 5, 305],
      ] as const) {
        const source = rows.subarray(row * rowWidth, (row + 1) * rowWidth);
        const query = rotated(source.slice(0, heads * headDim), position);
        const key = source.slice(heads * headDim, heads * headDim + keyWidth);
        const rotatedKey = kind === 'rebuilt' ? Array.from(key) : rotated(key, position);
        const keys = kind === 'latent' ? productOf(rotatedKey, encoders.key, keySize) : rotatedKey;
        const values = source.slice(heads * headDim + keyWidth);
        const start = (sequence * 9 + place) * format.entryWords;
        for (let word = 0; word < format.entryWords; word++) written.add(start + word);
        const received = new Float32Array(keySize + valueWidth);
        for (let slot = 0; slot < layout.keySlots; slot++) {
          const width = layout.keySlotWidth;
          decodeSlot(view, start + slot * format.keySlotWords, dtype, received, slot * width, width);
        }
        for (let slot = 0; slot < layout.valueSlots; slot++) {
          const at = start + layout.keySlots * format.keySlotWords + slot * format.valueSlotWords;
          decodeSlot(view, at, dtype, received, keySize + slot * layout.valueSlotWidth, layout.valueSlotWidth);
        }
        const largest = Math.max(...keys.map(Math.abs), ...values.map(Math.abs));
        [...keys, ...values].forEach((expected, c) => {
          expect(Math.abs(received[c]! - expected)).toBeLessThan(tolerances[dtype] * largest);
        });
        const expectedQuery =
          kind === 'latent'
            ? Array.from({ length: heads }, (_, h) => {
                const size = headDim * layout.keySlotWidth;
                const encoder = encoders.query.slice(h * size, (h + 1) * size);
                return productOf(query.slice(h * headDim, (h + 1) * headDim), encoder, layout.keySlotWidth);
              }).flat()
            : query;
        expectedQuery.forEach((expected, c) => {
          expect(queryValues[row * queryStride + c]).toBeCloseTo(expected / Math.sqrt(headDim), 4);
        });
      }
      words.forEach((word, index) => {
        if (!written.has(index)) expect(word).toBe(0);
      });
      for (const each of [projected, cache, sequences, rotation, keyEncoder, queryEncoder, queries]) each.dispose();
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
