import { createNormalRandom, entryDtypes } from '@kvlr/core';
import { memory, tensor, zeros } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { createCacheFormat } from './cache-format.ts';
import { copyEntries, readEntries } from './move-entries.ts';
import { encodeSlot, viewCache } from './slot-codec.ts';

describe.each(await testedBackends())('entries on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('are copied between caches of different capacity, and from a ring into order and back', async () => {
    await useBackend(backend);
    const before = memory().numTensors;
    await withoutGpuErrors(async () => {
      const numbers = (count: number, from: number) => Int32Array.from({ length: count }, (_, i) => from + i);
      const ring = tensor(numbers(2 * 6 * 2, 100), [2, 6, 2], 'int32');
      const linear = zeros([2, 8, 2], 'int32');
      // One sink, a ring of five. Of the first sequence four entries from the ring's third place on, of the other one.
      const runs = tensor([4, 1, 3, 1, 2, 0], [2, 3], 'int32');
      const shape = { longest: 4, window: 5, sinks: 1 };
      copyEntries({ source: ring, target: linear, runs }, { ...shape, ringSide: 'source' });
      const entry = (sequence: number, place: number) => [0, 1].map((word) => 100 + (sequence * 6 + place) * 2 + word);
      const expected = Array.from({ length: 32 }, () => 0);
      [4, 5, 1, 2].forEach((place, i) => {
        expected.splice(2 * (1 + i), 2, ...entry(0, place));
      });
      expected.splice(16 + 4, 2, ...entry(1, 1));
      expect(Array.from(await linear.data())).toEqual(expected);
      const again = zeros([2, 6, 2], 'int32');
      copyEntries({ source: linear, target: again, runs }, { ...shape, ringSide: 'target' });
      const back = Array.from(await again.data());
      for (const [sequence, place] of [
        [0, 4],
        [0, 5],
        [0, 1],
        [0, 2],
        [1, 1],
      ] as const) {
        expect(back.slice((sequence * 6 + place) * 2, (sequence * 6 + place) * 2 + 2)).toEqual(entry(sequence, place));
      }
      const grown = zeros([2, 9, 2], 'int32');
      const whole = tensor([6, 0, 0, 6, 0, 0], [2, 3], 'int32');
      copyEntries({ source: ring, target: grown, runs: whole }, { longest: 6, window: 0, sinks: 0, ringSide: 'none' });
      const values = Array.from(await grown.data());
      expect([values.slice(0, 12), values.slice(18, 30)].flat()).toEqual(Array.from(numbers(24, 100)));
      for (const each of [ring, linear, runs, again, grown, whole]) each.dispose();
    });
    expect(memory().numTensors).toBe(before);
  });

  it.skipIf(skip).each(entryDtypes)('are read as numbers from %s', async (dtype) => {
    await useBackend(backend);
    await withoutGpuErrors(async () => {
      const layout = { keySlots: 2, keySlotWidth: 5, valueSlots: 1, valueSlotWidth: 9, keys: 'rebuilt' as const };
      const format = createCacheFormat(layout, dtype);
      const normal = createNormalRandom(3);
      const source = Float32Array.from({ length: 2 * 3 * 19 }, () => normal());
      const words = new Int32Array(2 * 3 * format.entryWords);
      const view = viewCache(words);
      for (let entry = 0; entry < 6; entry++) {
        const at = entry * format.entryWords;
        encodeSlot(view, at, dtype, source, entry * 19, 5);
        encodeSlot(view, at + format.keySlotWords, dtype, source, entry * 19 + 5, 5);
        encodeSlot(view, at + 2 * format.keySlotWords, dtype, source, entry * 19 + 10, 9);
      }
      const cache = tensor(words, [2, 3, format.entryWords], 'int32');
      const { keys, values } = readEntries(cache, format);
      const tolerance = { f32: 1e-7, f16: 2e-3, fp8: 0.2, int8: 2e-2, int4: 0.3 }[dtype];
      const at = (entry: number, c: number) => source[entry * 19 + c]!;
      const keyValues = await keys.array();
      const valueValues = await values.array();
      for (let entry = 0; entry < 6; entry++) {
        const [sequence, place] = [Math.floor(entry / 3), entry % 3];
        for (let c = 0; c < 19; c++) {
          const received =
            c < 10
              ? keyValues[sequence]![Math.floor(c / 5)]![place]![c % 5]!
              : valueValues[sequence]![0]![place]![c - 10]!;
          expect(Math.abs(received - at(entry, c))).toBeLessThan(tolerance);
        }
      }
      for (const each of [cache, keys, values]) each.dispose();
    });
  });
});
