import { type Tensor2D, tensor2d } from '@tensorflow/tfjs-core';

/** Rows of three whole numbers, int32 [rows, 3]: what kernels are told of sequences and of runs. */
export function tensorOfRows(rows: readonly (readonly number[])[]): Tensor2D {
  return tensor2d(rows.flat(), [rows.length, 3], 'int32');
}
