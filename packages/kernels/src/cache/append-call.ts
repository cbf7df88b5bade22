import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { CacheFormat, CacheWindow } from './cache-format.ts';

export interface AppendInputs {
  /** New rows of q, k and v side by side, float32 [batch * tokens, queryWidth + keyWidth + valueWidth], before RoPE. */
  projected: TensorInfo;
  /** int32 [batch, capacity, entryWords], written in place. */
  cache: TensorInfo;
  /** int32 [batch, 3], see `SequenceRow`. */
  sequences: TensorInfo;
  /** `createRotationTable`, for all positions that occur. */
  rotation: TensorInfo;
  /** Latent keys only: rotated keys of all heads to slots, [keyWidth, keySlots * keySlotWidth]. */
  keyEncoder?: TensorInfo;
  /** Latent keys only: rotated query to its slot, [numAttentionHeads, headDim, keySlotWidth]. */
  queryEncoder?: TensorInfo;
}

export interface AppendAttributes {
  format: CacheFormat;
  window: CacheWindow;
  /** False: places are positions less the sequence's shift. True: behind the sinks they are a ring of `window`. */
  ring: boolean;
  numAttentionHeads: number;
  headDim: number;
  /** Rows of each sequence in `projected`. */
  tokens: number;
}

/** Rotations of a query: with sinks a second one, for them. */
function queryVariants({ window, sinks }: CacheWindow): number {
  return window > 0 && sinks > 0 ? 2 : 1;
}

/** The sizes that both bodies need. */
export function appendSizes(inputs: AppendInputs, attributes: AppendAttributes) {
  const { format, window, numAttentionHeads, headDim, tokens } = attributes;
  const { layout } = format;
  const [rows, rowWidth] = inputs.projected.shape as [number, number];
  const queryWidth = numAttentionHeads * headDim;
  const keyWidth = rowWidth - queryWidth - layout.valueSlots * layout.valueSlotWidth;
  const slotWidth = layout.keys === 'latent' ? layout.keySlotWidth : headDim;
  const variants = queryVariants(window);
  const queryShape = [rows, variants, numAttentionHeads, slotWidth];
  const batch = rows / tokens;
  return {
    rows,
    rowWidth,
    batch,
    queryWidth,
    keyWidth,
    slotWidth,
    variants,
    queryShape,
    capacity: inputs.cache.shape[1]!,
  };
}
