import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { HostBackend } from '../../host/host-heap.ts';
import type { WeightFormat } from '../../weights/weight-format.ts';

/** One product of a shard with all tokens: product[token, firstRow + r] = shard row r . staged[token]. */
export interface ProductTask {
  format: WeightFormat;
  columns: number;
  tokens: number;
  /** float32 [tokens, padded columns], zero in the padding. */
  staged: TensorInfo;
  words: TensorInfo;
  scales: TensorInfo | undefined;
  firstRow: number;
  shardRows: number;
  /** float32 [tokens, rows] */
  product: TensorInfo;
  rows: number;
}

export type Multiply<Backend extends HostBackend> = (backend: Backend, task: ProductTask) => void;
