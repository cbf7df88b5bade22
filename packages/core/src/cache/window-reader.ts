import type { CacheSide, SideFormat } from './cache-codec.ts';

/** What one layer puts into its cache for a window of T tokens. */
export interface LayerRows {
  layer: number;
  tokens: number;
  /** [T, keySlots * keySlotWidth], as `WindowReader.keys` says. */
  keys: Float32Array;
  /** [T, valueSlots * valueSlotWidth] */
  values: Float32Array;
}

/**
 * Port: what attention over a whole window reads in place of what it wrote, as if each of the window's tokens had been generated behind a
 * cache of those before it.
 */
export interface WindowReader {
  /** The keys that `read` is given: as attention reads them, or from before positions; latent keys are as the layout keeps them. */
  readonly keys: SideFormat['keys'];
  /** The rows of a window as the cache gives them back. */
  read(rows: LayerRows): Pick<LayerRows, 'keys' | 'values'>;
  /**
   * Where the coded tokens lie when a side holds so many tokens, the newest included: from `from` on and before `to`. All others are
   * read as they were written.
   */
  coded(side: CacheSide, tokens: number): { from: number; to: number };
}
