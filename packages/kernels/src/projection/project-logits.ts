import type { Tensor } from '@tensorflow/tfjs-core';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { defineProjection, type NormWeights } from './define-projection.ts';

const run = defineProjection('KvlrProjectLogits', 'projectLogits');

/**
 * The final norm and the logits of the vocabulary: head norm(x), float32 [tokens, vocabulary] from x [tokens, columns]. The
 * head may be the token embedding itself, and may have several shards: one dispatch for each. Throws 'tensor-shape'.
 */
export function projectLogits(x: Tensor, norm: NormWeights, head: PackedMatrix): Tensor {
  return run({ x, norm, matrix: head });
}
