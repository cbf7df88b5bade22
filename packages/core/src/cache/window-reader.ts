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

/** One layer's attention over a window of T tokens, as numbers. Query head h of H reads slot floor(h * slots / H). */
export interface WindowAttention {
  layer: number;
  tokens: number;
  /** Query heads, and KV slots. */
  heads: number;
  slots: number;
  keyWidth: number;
  valueWidth: number;
  /** Rotated and scaled, [heads, T, keyWidth]. */
  queries: Float32Array;
  /** As attention reads them, [T, slots * keyWidth] and [T, slots * valueWidth]. */
  keys: Float32Array;
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
  /**
   * Present where the cache lets only some tokens stay: the attended values of a window, [T, heads * valueWidth]. Keys and values are what
   * `read` gave, and `coded` is not asked.
   */
  attend?(attention: WindowAttention): Float32Array;
}
