import type { TimeSummary } from '@kvlr/report';
import { percentile } from './percentile.ts';

/** Median, 95th percentile and least of some times. Throws 'invalid-argument' without any. */
export function summariseTimes(milliseconds: readonly number[]): TimeSummary {
  return {
    samples: milliseconds.length,
    p50: percentile(milliseconds, 0.5),
    p95: percentile(milliseconds, 0.95),
    least: Math.min(...milliseconds),
  };
}
