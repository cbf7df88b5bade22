import { createNormalRandom, stockLayout } from '@kvlr/core';
import { createRotationTable } from '@kvlr/kernels';
import { createTinyModel, differenceByRange } from '@kvlr/testkit';
import { memory, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import { beginCacheStep } from './cache-step.ts';
import { KeyValueCache } from './key-value-cache.ts';

const heads = 4;
const headDim = 8;
const half = headDim / 2;
const kept = { window: 5, sinks: 2 };
const base = createTinyModel({ numAttentionHeads: heads, numKeyValueHeads: 2, headDim, numLayers: 1 }).shape;
const shape = { ...base, layers: [{ ...base.layers[0]!, cache: stockLayout(2, headDim) }] };
const rowWidth = heads * headDim + 2 * 2 * headDim;
const frequencies = Float64Array.from({ length: half }, (_, j) => 30 ** (-j / half));

function rotated(row: Float32Array, start: number, position: number): number[] {
  return Array.from({ length: headDim }, (_, c) => {
    const angle = position * frequencies[c % half]!;
    const other = row[start + ((c + half) % headDim)]!;
    return row[start + c]! * Math.cos(angle) + (c < half ? -other : other) * Math.sin(angle);
  });
}

/** Attention of the last of these rows in Float64, from the definition of a window with sinks. */
function oracle(rows: Float32Array[]): number[] {
  const position = rows.length - 1;
  const seen = rows.map((_, n) => n).filter((n) => n < kept.sinks || position - n < kept.window);
  return Array.from({ length: heads }, (_, h) => {
    const slot = Math.floor(h / 2);
    const keyStart = heads * headDim + slot * headDim;
    const scores = seen.map((n) => {
      const from = n < kept.sinks ? Math.min(position, kept.sinks + kept.window - 1) : position;
      const query = rotated(rows[position]!, h * headDim, from);
      return rotated(rows[n]!, keyStart, n).reduce((sum, key, c) => sum + (key * query[c]!) / Math.sqrt(headDim), 0);
    });
    const weights = scores.map((score) => Math.exp(score - Math.max(...scores)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const valueStart = heads * headDim + (2 + slot) * headDim;
    return Array.from({ length: headDim }, (_, c) =>
      seen.reduce((sum, n, place) => sum + (weights[place]! / total) * rows[n]![valueStart + c]!, 0),
    );
  }).flat();
}

describe.each(await testedBackends())('a window with sinks on $backend', ({ backend, skip }) => {
  it.skipIf(skip)(
    'holds window + sinks entries, whatever the stretches, and attends to them at their positions',
    async () => {
      await selectBackend({ backend });
      const before = memory().numTensors;
      const normal = createNormalRandom(8);
      const cache = new KeyValueCache(shape, { ...kept, batch: 2 });
      const bytes = cache.byteLength;
      expect(cache.capacity).toBe(7);
      const table = createRotationTable(frequencies, 300);
      const rotation = tensor2d(table, [table.length / headDim, headDim]);
      const texts: Float32Array[][] = [[], []];
      // Prompts within the window, across its edge, far beyond it; single tokens; a sequence at rest.
      for (const added of [
        [4, 1],
        [1, 1],
        [6, 3],
        [1, 1],
        [20, 2],
        [3, 9],
        [1, 0],
        [1, 1],
      ]) {
        const tokens = Math.max(...added);
        const rows = added.map((count) =>
          Array.from({ length: tokens }, (_, t) =>
            Float32Array.from({ length: rowWidth }, () => (t < count ? normal() : Number.NaN)),
          ),
        );
        const attended = tidy(() => {
          const flat = Float32Array.from(rows.flat().flatMap((row) => [...row]));
          const step = beginCacheStep(cache, added, tokens);
          const result = step.attend(0, tensor2d(flat, [2 * tokens, rowWidth]), { rotation });
          step.dispose();
          return result;
        });
        cache.advance(added.map((count) => Array(count).fill(0)));
        const values = (await attended.data()) as Float32Array;
        attended.dispose();
        added.forEach((count, sequence) => {
          for (let token = 0; token < count; token++) {
            texts[sequence]!.push(rows[sequence]![token]!);
            const start = (sequence * tokens + token) * heads * headDim;
            const received = values.subarray(start, start + heads * headDim);
            expect(differenceByRange(received, oracle(texts[sequence]!))).toBeLessThan(1e-5);
          }
        });
      }
      expect(cache.lengths).toEqual(texts.map((text) => text.length));
      expect(cache.byteLength).toBe(bytes);
      cache.dispose();
      rotation.dispose();
      expect(memory().numTensors).toBe(before);
    },
  );
});
