import { type CacheDtype, cacheBytes, type DecoderShape } from '@kvlr/core';

export interface LargestBatchSettings {
  memoryBytes: number;
  /** What the weights take of it. */
  weightBytes: number;
  dtype: CacheDtype;
  /** Tokens of each sequence. */
  context: number;
}

/** How many sequences' caches fit beside the weights, exactly; scratch memory is not counted. 0 where not even one fits. */
export function largestBatch(shape: Pick<DecoderShape, 'layers'>, settings: LargestBatchSettings): number {
  const { memoryBytes, weightBytes, dtype, context } = settings;
  const room = memoryBytes - weightBytes;
  return Math.max(0, Math.floor(room / cacheBytes(shape, { dtype, capacity: context })));
}
