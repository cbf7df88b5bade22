import type { Tensor } from '@tensorflow/tfjs-core';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { defineProjection, type NormWeights } from './define-projection.ts';

const run = defineProjection('KvlrNormProject', 'normProject');

/**
 * RMSNorm and a projection in one kernel: W norm(x) + bias, float32 [tokens, rows] from x [tokens, columns]. For q, k and v at
 * once write their rows below each other into one matrix. One dispatch per shard of the matrix. Up to 16 tokens the weights
 * are read once for all of them; above that the product is tiled. Throws 'tensor-shape'.
 */
export function normProject(x: Tensor, norm: NormWeights, matrix: PackedMatrix, bias?: Tensor): Tensor {
  return run({ x, norm, matrix, bias });
}
