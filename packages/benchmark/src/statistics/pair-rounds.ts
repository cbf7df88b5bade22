import { KvlrError } from '@kvlr/core';
import type { PairedSpeedup } from '@kvlr/report';
import { percentile } from './percentile.ts';

/**
 * How many times as fast one subject is as another, when both were timed in the same rounds, one right after the other: a ratio
 * of median times for each round, so that what slows the machine for a while slows both sides of a ratio. Reported are the median
 * over rounds and the lowest and highest. Throws 'invalid-argument' where the rounds do not match.
 */
export function pairRounds(base: readonly (readonly number[])[], other: readonly (readonly number[])[]): PairedSpeedup {
  if (base.length === 0 || base.length !== other.length) {
    throw new KvlrError('invalid-argument', {
      message: `pairRounds: expected as many rounds of both subjects, got ${base.length} and ${other.length}.`,
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
