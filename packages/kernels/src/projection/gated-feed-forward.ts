import { KvlrError } from '@kvlr/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { defineProjection, type NormWeights } from './define-projection.ts';
import type { Activation } from './projection.ts';

const run = defineProjection('KvlrGatedFeedForward', 'gatedFeedForward');

/** The two matrices [intermediate, columns] of a gated feed-forward block, alike in format and shards. */
export interface GatedMatrices {
  gate: PackedMatrix;
  up: PackedMatrix;
  activation: Activation;
}

/**
 * The first half of a gated feed-forward block (Shazeer 2020) in one kernel: activation(gate y) * (up y) with y = RMSNorm(x),
 * float32 [tokens, intermediate] from x [tokens, columns]. One dispatch per shard. `projectAdd` is the other half.
 * Throws 'tensor-shape', also when gate and up differ.
 */
export function gatedFeedForward(x: Tensor, norm: NormWeights, { gate, up, activation }: GatedMatrices): Tensor {
  const describe = (matrix: PackedMatrix) =>
    `${matrix.format} [${matrix.rows}, ${matrix.columns}] in shards of ${matrix.shards.map(({ rows }) => rows)}`;
  if (describe(gate) !== describe(up)) {
    throw new KvlrError('tensor-shape', {
      message: `gatedFeedForward: expected gate and up to be alike, got ${describe(gate)} and ${describe(up)}`,
      data: { gate: describe(gate), up: describe(up) },
    });
  }
  return run({ x, norm, matrix: gate, paired: up, activation });
}
