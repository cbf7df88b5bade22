import type { Measurement } from '@kvlr/core';

/** What one model with its cache remembers. */
export interface LongContextRow {
  /** For people. */
  name: string;
  /** Bytes of the cache at the longest context. */
  cacheBytes: number;
  cells: { length: number; depth: number; copyGain: Measurement; needle: Measurement }[];
  positions: { from: number; to: number; perplexity: Measurement }[];
  /** Against the first row, paired: ratios of perplexities, differences of copying gains. */
  change?: { perplexities: Measurement[]; copyGains: Measurement[] } | undefined;
}

/** What models with their caches remember of long contexts, side by side; all were asked the same. */
export interface LongContextReport {
  title: string;
  rows: LongContextRow[];
  notes: string[];
}
