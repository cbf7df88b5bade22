import { type CacheDtype, cacheBytes, type DecoderShape, decoderTensors, type TensorRole } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { packedTensorBytes } from '@kvlr/runtime';

/** Exact bytes of a model's weights on the device: packed matrices, float32 vectors. Without the table of rotations. */
export function weightBytes(shape: DecoderShape, format: WeightFormat): number {
  return decoderTensors(shape).reduce((sum, tensor) => sum + packedTensorBytes(tensor, format), 0);
}

export interface DecodeBytesSettings {
  weights: WeightFormat;
  cache: CacheDtype;
  /** Tokens that each sequence attends to, the new one included. */
  context: number;
  batch?: number;
}

/**
 * Bytes that one decode step has to read, by formula: every matrix once for the whole batch, one row of the embedding for each
 * sequence, every cached entry once. Vectors (norms, biases) are left out. For layouts 'stock' and 'latent'.
 */
export function decodeBytes(shape: DecoderShape, settings: DecodeBytesSettings): number {
  const { weights, cache, context, batch = 1 } = settings;
  const tables: readonly TensorRole[] = ['embedding', 'positionEmbedding'];
  const matrices = decoderTensors(shape)
    .filter(({ role, shape: dimensions }) => dimensions.length > 1 && !tables.includes(role))
    .reduce((sum, tensor) => sum + packedTensorBytes(tensor, weights), 0);
  const table = packedTensorBytes({ role: 'embedding', shape: [shape.vocabSize, shape.embedding.width] }, weights);
  const head = shape.head.tied ? table : 0;
  const embedded = (table / shape.vocabSize) * batch;
  return matrices + head + embedded + cacheBytes(shape, { dtype: cache, capacity: context, batch });
}

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
