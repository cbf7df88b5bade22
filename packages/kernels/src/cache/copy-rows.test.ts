import { memory, tensor } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { copyRows } from './copy-rows.ts';

describe.each(await testedBackends())('rows on $backend', ({ backend, skip }) => {
  it.skipIf(skip)('are copied bit for bit from anywhere to anywhere', async () => {
    await useBackend(backend);
    const before = memory().numTensors;
    await withoutGpuErrors(async () => {
      // Bits that are no number as floats, and small ones that a float would lose.
      const words = Int32Array.from({ length: 7 * 5 }, (_, i) => (i % 2 === 0 ? 0x7fc00001 + i : -2147483647 + i));
      const source = tensor(words, [7, 5], 'int32');
      const target = tensor(new Int32Array(3 * 90 * 4).fill(9), [3, 90, 4], 'int32');
      const pairs = Array.from({ length: 90 }, (_, i) => [(3 * i) % 7, 2 * i + 1]);
      const rows = tensor(pairs.flat(), [90, 2], 'int32');
      const none = tensor([], [0, 2], 'int32');
      copyRows({ source, target, rows }, { words: 3, targetAt: 1 });
      copyRows({ source, target, rows: none }, { words: 3 });
      const expected = new Int32Array(3 * 90 * 4).fill(9);
      for (const [from, to] of pairs as [number, number][]) {
        expected.set(words.subarray(5 * from, 5 * from + 3), 4 * to + 1);
      }
      expect(Int32Array.from(await target.data<'int32'>())).toEqual(expected);
      for (const each of [source, target, rows, none]) each.dispose();
    });
    expect(memory().numTensors).toBe(before);
  });
});
