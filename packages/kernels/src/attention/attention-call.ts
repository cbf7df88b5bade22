import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { CacheFormat, CacheWindow } from '../cache/cache-format.ts';

export interface AttentionInputs {
  /** As `rotateAndAppend` gives them: rotated, encoded, scaled, float32 [batch * tokens, variants, numAttentionHeads, width]. */
  queries: TensorInfo;
  /** int32 [batch, capacity, entryWords]; holds the new tokens already. */
  cache: TensorInfo;
  /** int32 [batch, 3], see `SequenceRow`: the ones that the new tokens were appended with. */
  sequences: TensorInfo;
}

export interface AttentionAttributes {
  format: CacheFormat;
  window: CacheWindow;
  /** Entries of the longest sequence, the new tokens included: what a call has to look at. */
  longest: number;
}

/** Bytes of cache that a call reads when every entry is read once. */
export function attentionBytes({ cache }: AttentionInputs, { format, longest }: AttentionAttributes): number {
  return 4 * cache.shape[0]! * longest * format.entryWords;
}
