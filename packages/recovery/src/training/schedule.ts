import { createRandom, shuffled } from '@kvlr/core';

/**
 * Endless batches of window indices: all windows in a seeded random order, then again in another. A batch may straddle two
 * rounds, so that every window is seen equally often whatever the batch size.
 */
export function* batchOrder(windowCount: number, windowsPerBatch: number, seed: number): Generator<number[], never> {
  const random = createRandom(seed);
  const windows = Array.from({ length: windowCount }, (_, index) => index);
  let waiting: number[] = [];
  while (true) {
    while (waiting.length < windowsPerBatch) waiting = waiting.concat(shuffled(windows, random));
    yield waiting.slice(0, windowsPerBatch);
    waiting = waiting.slice(windowsPerBatch);
  }
}

/**
 * Learning rate at a step, 0-based: a linear rise over the first `warmupSteps`, then half a cosine down to zero
 * (Loshchilov and Hutter 2017, without restarts).
 */
export function learningRateAt(
  step: number,
  schedule: { learningRate: number; steps: number; warmupSteps: number },
): number {
  const { learningRate, steps, warmupSteps } = schedule;
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const progress = (step - warmupSteps) / Math.max(1, steps - warmupSteps);
  return (learningRate * (1 + Math.cos(Math.PI * progress))) / 2;
}

/** As often as a screen is drawn: timers cost a millisecond or more themselves. */
const YIELD_MILLISECONDS = 16;
let lastYield = 0;

/**
 * Lets the host's timers and signals run, where they have waited for a while: on wasm and cpu the reading of a result is no real wait,
 * and on a GPU results are read rarely.
 */
export async function yieldToHost(): Promise<void> {
  if (performance.now() - lastYield < YIELD_MILLISECONDS) return;
  await new Promise<void>((resolve) => setTimeout(resolve, 0));
  lastYield = performance.now();
}
