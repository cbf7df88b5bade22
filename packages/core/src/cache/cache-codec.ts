import type { LayerCacheLayout } from '../model/decoder-shape.ts';

/** The two halves of a cache entry. Each has a format of its own. */
export type CacheSide = 'keys' | 'values';

/** What one side of one layer's cache holds of a token: `slots` slices of `width` numbers, side by side. */
export interface SlotShape {
  slots: number;
  width: number;
}

/** The slots of one side of a layer's cache. */
export function slotsOfSide(layout: LayerCacheLayout, side: CacheSide): SlotShape {
  return side === 'keys'
    ? { slots: layout.keySlots, width: layout.keySlotWidth }
    : { slots: layout.valueSlots, width: layout.valueSlotWidth };
}

/**
 * What calibration knows of the numbers that one side of one layer holds, in the form in which its format reads them (`SideFormat.keys`).
 * Float64, row-major, slot by slot.
 */
export interface SideStatistics {
  /** Mean of a slot, [slots, width]. */
  mean: Float64Array;
  /** Covariance of a slot, [slots, width, width]. */
  covariance: Float64Array;
  /**
   * What an error e of a slot costs: e^T B e, [slots, width, width]. Values: the sum over the query heads that read the slot of
   * W_o^T W_o, so the squared error of the block's output at attention 1. Keys: the mean squared error of a score, diagonal.
   */
  errorWeight: Float64Array;
  /** Keys alone: second moment of the queries that read a slot, summed over its query heads, [slots, width, width]. */
  queryMoment?: Float64Array | undefined;
  /** For formats with `needsSamples`: slices of some tokens, of all slots, [samples, width]. */
  samples?: Float32Array | undefined;
}

/** What a format is told before it codes one side of one layer. */
export interface SideRequest extends SlotShape {
  layer: number;
  side: CacheSide;
  /** Present for formats that ask for it (`needsStatistics`). */
  statistics?: SideStatistics | undefined;
}

/** Codes one side of one layer's cache. Rows are tokens, [tokens, slots * width], slots side by side, row-major. */
export interface SideCodec {
  /**
   * The bytes of these tokens, `byteLength` of them; a multiple of `blockTokens` tokens. Each block of tokens stands alone: what comes
   * after it does not change its bytes.
   */
  encode(rows: Float32Array, tokens: number): Uint8Array;
  /** The rows that these bytes stand for. */
  decode(bytes: Uint8Array, tokens: number): Float32Array;
}

/** How one side of a cache stores its numbers. */
export interface SideFormat {
  /** Tokens that are coded together; those of a block that is not full yet stay in halves. 1: each token stands alone. */
  blockTokens: number;
  /** Which keys it stores: as attention reads them, or as the projection gives them, to be rotated whenever they are read. */
  keys: 'rotated' | 'projected';
  /** Whether `create` needs statistics of the layer. */
  needsStatistics: boolean;
  /** Whether those have to hold samples. */
  needsSamples?: boolean | undefined;
  /** Exact bytes of so many tokens, scales and padding included; `tokens` is a multiple of `blockTokens`. */
  byteLength(shape: SlotShape, tokens: number): number;
  /** Bytes of what is kept once for a model, whatever the number of sequences and tokens, per layer. Default 0. */
  tableBytes?(shape: SlotShape): number;
  /** Why slots of this shape cannot be stored ('a width that is a multiple of 32'), undefined where they can. */
  refuse?(shape: SlotShape): string | undefined;
  create(request: SideRequest): SideCodec;
}

/** Port: how the entries of a KV cache are stored. Keys and values may be coded differently. */
export interface CacheCodec {
  /** One line for tables and help texts. */
  title: string;
  /** Paper or program that it comes from. */
  source?: string | undefined;
  keys: SideFormat;
  values: SideFormat;
}
