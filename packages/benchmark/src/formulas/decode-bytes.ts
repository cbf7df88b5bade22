import { expectedTensors } from '@kvlr/checkpoint';
import { type CacheDtype, cacheBytes, type DecoderShape } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { tensorBytes } from './weight-bytes.ts';

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
  const matrices = expectedTensors(shape)
    .filter(({ role, shape: dimensions }) => dimensions.length > 1 && role !== 'embedding')
    .reduce((sum, tensor) => sum + tensorBytes(tensor, weights), 0);
  const table = tensorBytes({ role: 'embedding', shape: [shape.vocabSize, shape.hiddenSize] }, weights);
  const head = shape.tieWordEmbeddings ? table : 0;
  const embedded = (table / shape.vocabSize) * batch;
  return matrices + head + embedded + cacheBytes(shape, { dtype: cache, capacity: context, batch });
}
