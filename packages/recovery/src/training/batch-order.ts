import { createRandom } from '@kvlr/core';

/**
 * Endless batches of window indices: all windows in a seeded random order, then again in another. A batch may straddle two
 * rounds, so that every window is seen equally often whatever the batch size.
 */
export function* batchOrder(windowCount: number, windowsPerBatch: number, seed: number): Generator<number[], never> {
  const random = createRandom(seed);
  let waiting: number[] = [];
  while (true) {
    while (waiting.length < windowsPerBatch) waiting = waiting.concat(shuffled(windowCount, random));
    yield waiting.slice(0, windowsPerBatch);
    waiting = waiting.slice(windowsPerBatch);
  }
}

/** Fisher and Yates. */
function shuffled(count: number, random: () => number): number[] {
  const order = Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  return order;
}
