import type { Tensor } from '@tensorflow/tfjs-core';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { defineProjection } from './define-projection.ts';

const run = defineProjection('KvlrProjectAdd', 'projectAdd');

/**
 * A projection back into the stream: residual + W x + bias, float32 [tokens, rows] from x [tokens, columns]. The output
 * projection of attention and the down projection of the feed-forward block. One dispatch per shard. Throws 'tensor-shape'.
 */
export function projectAdd(x: Tensor, matrix: PackedMatrix, residual: Tensor, bias?: Tensor): Tensor {
  return run({ x, matrix, residual, bias });
}
