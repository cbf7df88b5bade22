import { type RunControl, throwIfAborted } from '@kvlr/core';

export interface RoundSettings extends Pick<RunControl, 'signal'> {
  rounds: number;
  /** Called after each subject of each round. */
  onMeasured?: (done: number, total: number) => void;
}

/**
 * Lets several subjects take turns. A round has each of them once; every other round goes the other way, so that none is always
 * first. Returns [subject][round]: what its `measure` gave, usually the times of several steps in milliseconds. One unmeasured
 * turn each comes first.
 */
export async function measureInRounds<Sample>(
  subjects: readonly (() => Promise<Sample>)[],
  { rounds, signal, onMeasured }: RoundSettings,
): Promise<Sample[][]> {
  for (const measure of subjects) {
    throwIfAborted(signal);
    await measure();
  }
  const samples: Sample[][] = subjects.map(() => []);
  let done = 0;
  for (let round = 0; round < rounds; round++) {
    const order = [...subjects.keys()];
    if (round % 2 === 1) order.reverse();
    for (const index of order) {
      throwIfAborted(signal);
      samples[index]!.push(await subjects[index]!());
      onMeasured?.(++done, rounds * subjects.length);
    }
  }
  return samples;
}
