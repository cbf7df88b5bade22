import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mapInOrder, throwIfAborted } from './run-control.ts';

const later = (turns: number) => new Promise<void>((resolve) => setTimeout(resolve, turns));

test('results come in the order of the items, whoever finishes first', async () => {
  const delays = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(delays, fc.integer({ min: 1, max: 5 }), async (items, concurrency) => {
      const seen: number[] = [];
      let running = 0;
      let most = 0;
      const results = await mapInOrder({
        items,
        concurrency,
        work: async (delay, index) => {
          most = Math.max(most, ++running);
          await later(delay);
          running--;
          return index;
        },
        onResult: (result, index) => seen.push(result === index ? index : -1),
      });
      const order = [...items.keys()];
      expect(results).toEqual(order);
      expect(seen).toEqual(order);
      expect(most).toBe(Math.min(concurrency, items.length));
    }),
    { numRuns: 25 },
  );
});

test('an error ends the work: nothing more is started, and what ran has ended', async () => {
  const started: number[] = [];
  const ended: number[] = [];
  const work = async (item: number) => {
    started.push(item);
    await later(item === 1 ? 1 : 8);
    if (item === 1) throw new Error('enough');
    ended.push(item);
  };
  await expect(mapInOrder({ items: [0, 1, 2, 3], concurrency: 2, work })).rejects.toThrow('enough');
  expect(started).toEqual([0, 1]);
  expect(ended).toEqual([0]);
});

test('an abort ends the work', async () => {
  const controller = new AbortController();
  const work = async (item: number) => {
    if (item === 1) controller.abort();
  };
  const running = mapInOrder({ items: [0, 1, 2], concurrency: 1, signal: controller.signal, work });
  await expect(running).rejects.toMatchObject({ code: 'aborted' });
});

test('throws only once the signal has fired', () => {
  const controller = new AbortController();
  throwIfAborted(undefined);
  throwIfAborted(controller.signal);
  controller.abort('enough');
  expect(() => throwIfAborted(controller.signal)).toThrowError(
    expect.objectContaining({ code: 'aborted', cause: 'enough' }),
  );
});
