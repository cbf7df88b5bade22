import { createRandom } from '@kvlr/core';
import { matMul, memory, type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { beforeAll, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';

beforeAll(async () => {
  await selectBackend({ backend: 'wasm' });
});

const size = fc.integer({ min: 1, max: 9 });

it('agrees with plain loops for every batch, transposition and shape', async () => {
  const held = memory().numTensors;
  await fc.assert(
    fc.asyncProperty(
      fc.record({ rows: size, inner: size, columns: size, seed: fc.nat() }),
      fc.constantFrom([1, 1], [3, 3], [3, 1], [1, 3]),
      fc.boolean(),
      fc.boolean(),
      async ({ rows, inner, columns, seed }, [batchA, batchB], transposeA, transposeB) => {
        const random = createRandom(seed);
        const filled = (count: number) => Float32Array.from({ length: count }, () => random() - 0.5);
        const a = filled(batchA! * rows * inner);
        const b = filled(batchB! * inner * columns);
        const product = tidy(() =>
          matMul(
            tensor(a, transposeA ? [batchA!, inner, rows] : [batchA!, rows, inner]),
            tensor(b, transposeB ? [batchB!, columns, inner] : [batchB!, inner, columns]),
            transposeA,
            transposeB,
          ),
        ) as Tensor;
        const batch = Math.max(batchA!, batchB!);
        expect(product.shape).toEqual([batch, rows, columns]);
        const received = await product.data();
        product.dispose();
        for (let place = 0; place < batch * rows * columns; place++) {
          const column = place % columns;
          const row = Math.floor(place / columns) % rows;
          const index = Math.floor(place / (rows * columns));
          const startA = (index % batchA!) * rows * inner;
          const startB = (index % batchB!) * inner * columns;
          let sum = 0;
          for (let k = 0; k < inner; k++) {
            const left = a[startA + (transposeA ? k * rows + row : row * inner + k)]!;
            sum += left * b[startB + (transposeB ? column * inner + k : k * columns + column)]!;
          }
          expect(Math.abs(received[place]! - sum)).toBeLessThan(1e-5);
        }
      },
    ),
    { numRuns: 150 },
  );
  expect(memory().numTensors).toBe(held);
});
