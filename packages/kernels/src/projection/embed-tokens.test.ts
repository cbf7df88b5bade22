import { createNormalRandom } from '@kvlr/core';
import { differenceByRange } from '@kvlr/testkit';
import { memory, tensor1d } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { dequantised } from '../testing/oracles.ts';
import { testedBackends, useBackend, withoutGpuErrors } from '../testing/tested-backends.ts';
import { packedByteLength, weightFormats } from '../weights/pack-weights.ts';
import { PackedMatrix } from '../weights/packed-matrix.ts';
import { embedTokens } from './embed-tokens.ts';

const rows = 11;
const columns = 42;

for (const { backend, skip } of await testedBackends()) {
  describe.skipIf(skip)(`on ${backend}${skip ? `: ${skip}` : ''}`, () => {
    it.each(weightFormats)('%s: gives the unpacked rows, over shards, and zeros for foreign ids', async (format) => {
      await useBackend(backend);
      const held = memory().numTensors;
      const normal = createNormalRandom(1);
      const values = Float32Array.from({ length: rows * columns }, normal);
      // Room for four rows with their scales is room for at least four, and at most seven, rows of words.
      const matrix = new PackedMatrix({ format, rows, columns, maxShardBytes: packedByteLength(format, 4, columns) });
      expect(matrix.shards.length).toBeGreaterThan(1);
      matrix.write(0, values);
      const chosen = [10, 0, 4, 3, 11, 10, -1, 7];
      const ids = tensor1d(chosen, 'int32');
      const received = await withoutGpuErrors(async () => {
        const result = embedTokens(ids, matrix, 2);
        expect(result.shape).toEqual([chosen.length, columns]);
        const data = await result.data();
        result.dispose();
        return data;
      });
      const unpacked = dequantised(values, rows, columns, format);
      const expected = chosen.flatMap((id) =>
        Array.from({ length: columns }, (_, column) =>
          id >= 0 && id < rows ? 2 * unpacked[id * columns + column]! : 0,
        ),
      );
      expect(differenceByRange(received, expected)).toBeLessThan(1e-6);
      ids.dispose();
      matrix.dispose();
      expect(memory().numTensors).toBe(held);
    });
  });
}
