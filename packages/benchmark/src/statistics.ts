import { KvlrError, type RunControl, throwIfAborted } from '@kvlr/core';
import type { PairedSpeedup, TimeSummary } from '@kvlr/report';

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

/**
 * How many times as fast one subject is as another, when both were timed in the same rounds, one right after the other: a ratio
 * of median times for each round, so that what slows the machine for a while slows both sides of a ratio. Reported are the median
 * over rounds and the lowest and highest. Throws 'invalid-argument' where the rounds do not match.
 */
export function pairRounds(base: readonly (readonly number[])[], other: readonly (readonly number[])[]): PairedSpeedup {
  if (base.length === 0 || base.length !== other.length) {
    throw new KvlrError('invalid-argument', {
      message: `expected as many rounds of both subjects, got ${base.length} and ${other.length}.`,
      data: { base: base.length, other: other.length },
    });
  }
  const ratios = base.map((times, round) => percentile(times, 0.5) / percentile(other[round]!, 0.5));
  return {
    rounds: ratios.length,
    median: percentile(ratios, 0.5),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
  };
}

/** Median, 95th percentile and least of some times. Throws 'invalid-argument' without any. */
export function summariseTimes(milliseconds: readonly number[]): TimeSummary {
  return {
    samples: milliseconds.length,
    p50: percentile(milliseconds, 0.5),
    p95: percentile(milliseconds, 0.95),
    least: Math.min(...milliseconds),
  };
}

/**
 * The value below which `share` (0..1) of the samples lie, with linear interpolation between neighbours (Hyndman and Fan 1996,
 * definition 7: what NumPy does). Throws 'invalid-argument' without samples or for another share.
 */
export function percentile(samples: readonly number[], share: number): number {
  if (samples.length === 0 || !(share >= 0 && share <= 1)) {
    throw new KvlrError('invalid-argument', {
      message: `expected at least one sample and a share from 0 to 1, got ${samples.length} and ${share}.`,
      data: { samples: samples.length, share },
    });
  }
  const sorted = [...samples].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  const above = sorted[Math.ceil(place)]!;
  return below + (above - below) * (place - Math.floor(place));
}
