import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { WeightFormat } from '../weights/weight-format.ts';

export interface EmbeddingInputs {
  /** int32 [tokens] */
  ids: TensorInfo;
  /** Of every shard. */
  words: TensorInfo[];
  /** Of every shard; empty for formats without scales. */
  scales: TensorInfo[];
}

export interface EmbeddingAttributes {
  format: WeightFormat;
  rows: number;
  columns: number;
  shards: { firstRow: number; rows: number }[];
  scale: number;
}
