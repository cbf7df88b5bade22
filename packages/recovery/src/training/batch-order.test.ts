import fc from 'fast-check';
import { expect, it } from 'vitest';
import { batchOrder } from './batch-order.ts';

it('shows every window equally often, in an order that the seed decides', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 12 }),
      fc.nat(),
      (windows, perBatch, seed) => {
        const take = () => {
          const batches = batchOrder(windows, perBatch, seed);
          return Array.from({ length: windows }, () => batches.next().value);
        };
        const seen = take();
        expect(take()).toEqual(seen);
        const counts = new Array<number>(windows).fill(0);
        for (const window of seen.flat()) counts[window]! += 1;
        expect(counts).toEqual(new Array<number>(windows).fill(perBatch));
      },
    ),
  );
});

it('gives other seeds other orders', () => {
  const first = (seed: number) => batchOrder(50, 50, seed).next().value;
  expect(first(1)).not.toEqual(first(2));
});
