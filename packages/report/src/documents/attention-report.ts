import type { CacheDtype } from '@kvlr/core';
import type { PairedSpeedup, TimeSummary } from './benchmark-report.ts';
import type { RunEnvironment } from './run-environment.ts';

/** Decode attention of one layer: one new token over a cache. */
export interface AttentionRow {
  context: number;
  dtype: CacheDtype;
  keyValueHeads: number;
  /** One call. */
  call: TimeSummary;
  /** Bytes of cache that a call reads, exactly. */
  bytesRead: number;
  /** By the median time. */
  bytesPerSecond: number;
  /** Against the most KV heads at this context and dtype. */
  speedup?: PairedSpeedup;
}

/** Attention alone, beside what the device copies. */
export interface AttentionReport {
  title: string;
  numAttentionHeads: number;
  headDim: number;
  /** Bytes read and written per second when memory is copied. */
  copyBytesPerSecond: number;
  rows: AttentionRow[];
  environment: RunEnvironment;
  notes: string[];
}
