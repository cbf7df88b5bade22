import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { WeightFormat } from '../weights/weight-format.ts';

export type Activation = 'silu' | 'gelu' | 'gelu-tanh';

/**
 * What the projection kernels read. With y = x, or RMSNorm(x) when there is a norm weight:
 *   result = W y + bias + residual                 [tokens, rows], or
 *   result = activation(W y) * (paired W) y        [tokens, rows], when the matrix has a pair.
 */
export interface ProjectionInputs {
  /** [tokens, columns] */
  x: TensorInfo;
  /** Of every shard of the matrix. */
  words: TensorInfo[];
  /** Of every shard; empty for formats without scales. */
  scales: TensorInfo[];
  /** Of a second matrix of the same shape, format and shards; empty when there is none. */
  pairedWords: TensorInfo[];
  pairedScales: TensorInfo[];
  /** [columns] */
  normWeight?: TensorInfo;
  /** [rows] */
  bias?: TensorInfo;
  /** [tokens, rows] */
  residual?: TensorInfo;
}

export interface ProjectionAttributes {
  format: WeightFormat;
  rows: number;
  columns: number;
  /** First row and number of rows of every shard. */
  shards: { firstRow: number; rows: number }[];
  /** Added to the mean square under the root of RMSNorm. */
  epsilon: number;
  /** Of the product, when the matrix has a pair. */
  activation: Activation;
}
