import { createNormalRandom, type EntryDtype, type LayerCacheLayout, stockLayout } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import { memory, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { type CacheWindow, createCacheFormat } from '../cache/cache-format.ts';
import { createRotationTable } from '../cache/rotation-table.ts';
import { kernelCounters } from '../fused-kernel.ts';
import { dequantised, oracleProduct } from '../testing/oracles.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import type { WeightFormat } from '../weights/pack-weights.ts';
import { packMatrix } from '../weights/packed-matrix.ts';
import { attendAndProjectAdd } from './attend-and-project.ts';
import { appendAndAttend } from './attention.ts';

interface Case {
  layout: LayerCacheLayout;
  heads: number;
  headDim: number;
  rows: number;
  capacity: number;
  dtype: EntryDtype;
  weights: WeightFormat;
  window?: CacheWindow;
  /** Of each sequence: tokens held, and one more or none. */
  held: [length: number, added: number][];
  dispatches: number;
}

const latent: LayerCacheLayout = { keySlots: 1, keySlotWidth: 18, valueSlots: 2, valueSlotWidth: 8, keys: 'latent' };

/** One dispatch attends and appends (two of latent keys), one joins and projects; without parts, or with too much of them, as before. */
const cases: [string, Case][] = [
  [
    'a few parts',
    {
      ...{ layout: stockLayout(2, 12), heads: 8, headDim: 12, rows: 40, capacity: 200, dtype: 'f16', weights: 'int4' },
      ...{
        held: [
          [190, 1],
          [3, 1],
          [64, 0],
          [0, 1],
        ],
        dispatches: 2,
      },
    },
  ],
  [
    'sinks and a window',
    {
      ...{ layout: stockLayout(2, 8), heads: 4, headDim: 8, rows: 27, capacity: 130, dtype: 'f32', weights: 'f32' },
      ...{
        window: { window: 126, sinks: 4 },
        held: [
          [300, 1],
          [60, 1],
        ],
        dispatches: 2,
      },
    },
  ],
  [
    'latent keys',
    {
      ...{ layout: latent, heads: 4, headDim: 8, rows: 33, capacity: 150, dtype: 'int8', weights: 'int8' },
      ...{ held: [[140, 1]], dispatches: 3 },
    },
  ],
  [
    'values in odd widths',
    {
      ...{ layout: stockLayout(1, 10), heads: 2, headDim: 10, rows: 20, capacity: 130, dtype: 'f32', weights: 'f16' },
      ...{ held: [[120, 1]], dispatches: 3 },
    },
  ],
  [
    'one part',
    {
      ...{ layout: stockLayout(1, 8), heads: 2, headDim: 8, rows: 20, capacity: 60, dtype: 'f32', weights: 'f32' },
      ...{ held: [[50, 1]], dispatches: 2 },
    },
  ],
];

const rotationOf = (table: Float32Array, headDim: number) => tensor(table, [table.length / headDim, headDim]);

describe.each(await testedBackends())('attention and its output projection on $backend', ({ backend, skip }) => {
  it.skipIf(skip).each(cases)('%s: the product in Float64 of what attention gives', async (_, given) => {
    await useBackend(backend);
    const before = memory().numTensors;
    const { layout, heads, headDim, rows, capacity, dtype, weights, window = { window: 0, sinks: 0 }, held } = given;
    const normal = createNormalRandom(3);
    const random = (shape: number[], scale = 1) =>
      tensor(
        Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => scale * normal()),
        shape,
      );
    const batch = held.length;
    const columns = heads * layout.valueSlotWidth;
    const format = createCacheFormat(layout, dtype);
    const keyWidth = layout.keys === 'latent' ? 4 * headDim : layout.keySlots * layout.keySlotWidth;
    const rowWidth = heads * headDim + keyWidth + layout.valueSlots * layout.valueSlotWidth;
    const values = Float32Array.from({ length: rows * columns }, () => 0.3 * normal());
    await withoutGpuErrors(async () => {
      const frequencies = Float64Array.from({ length: headDim / 2 }, (_, j) => 100 ** ((-2 * j) / headDim));
      const tensors: Record<string, Tensor> = {
        cache: zeros([batch, capacity, format.entryWords], 'int32'),
        rotation: rotationOf(createRotationTable(frequencies, 1024), headDim),
        projected: random([batch, rowWidth]),
        residual: random([batch, rows]),
        bias: random([rows]),
        ...(layout.keys === 'latent' && {
          keyEncoder: random([keyWidth, layout.keySlots * layout.keySlotWidth], 0.3),
          queryEncoder: random([heads, headDim, layout.keySlotWidth], 0.3),
        }),
      };
      const attributes = { format, window, ring: window.window > 0, numAttentionHeads: heads, headDim, tokens: 1 };
      const inputsAt = (sequences: Tensor) => {
        const { cache, rotation, projected, keyEncoder, queryEncoder } = tensors;
        const encoders = keyEncoder && queryEncoder ? { keyEncoder, queryEncoder } : {};
        return { projected: projected!, cache: cache!, sequences, rotation: rotation!, ...encoders };
      };
      // Entries before the newest, some at a time: those of other rows of q, k and v.
      const places = Math.max(...held.map(([length]) => Math.min(length, capacity)));
      for (let place = 0; place < places; place += 7) {
        tensors.projected!.dispose();
        tensors.projected = random([batch, rowWidth]);
        const sequences = tensor(
          held.flatMap(([length]) => [Math.min(place, length), 1, 0]),
          [batch, 3],
          'int32',
        );
        tidy(() => void appendAndAttend(inputsAt(sequences), attributes, place + 1));
        sequences.dispose();
      }
      const matrix = packMatrix(values, rows, columns, weights);
      const sequences = tensor(
        held.flatMap(([length, added]) => [length, added, 0]),
        [batch, 3],
        'int32',
      );
      const attended = tidy(() => appendAndAttend(inputsAt(sequences), attributes, capacity));
      kernelCounters.reset();
      const output = { matrix, residual: tensors.residual!, bias: tensors.bias! };
      const received = attendAndProjectAdd(inputsAt(sequences), attributes, capacity, output);
      expect(kernelCounters.total().dispatches).toBe(backend === 'webgpu' ? given.dispatches : 0);
      const [rowsOf, residual, bias] = await Promise.all(
        [attended, tensors.residual!, tensors.bias!].map((each) => each.data()),
      );
      const expected = oracleProduct(rowsOf as Float32Array, dequantised(values, rows, columns, weights), columns).map(
        (value, place) => value + residual![place]! + bias![place % rows]!,
      );
      const tolerance = backend === 'wasm' && weights.startsWith('int') ? 1e-4 : 1e-5;
      expect(differenceByRange((await received.data()) as Float32Array, expected)).toBeLessThan(tolerance);
      for (const each of [...Object.values(tensors), matrix, sequences, attended, received]) each.dispose();
    });
    expect(memory().numTensors).toBe(before);
  });
});
