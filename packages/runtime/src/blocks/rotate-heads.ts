import { add, matMul, mul, reshape, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Rotation, SequenceContext } from './sequence-context.ts';

/**
 * Rotary position embedding (Su et al. 2021), half-split layout: x [batch * tokens, heads * headDim] to
 * [batch, tokens, heads, headDim].
 */
export function rotateHeads(x: Tensor2D, heads: number, context: SequenceContext): Tensor4D {
  const headDim = x.shape[1] / heads;
  return rotate(reshape(x, [context.batch, context.tokens, heads, headDim]), context, context);
}

/**
 * Rotates [any, positions, heads, headDim] by the angles of its positions. The quarter turn is a product with a signed
 * permutation: exact, differentiable, and on every backend cheaper than cutting the heads in halves and joining them again.
 */
export function rotate(
  x: Tensor4D,
  { cosine, sine }: Rotation,
  { quarterTurn }: Pick<SequenceContext, 'quarterTurn'>,
): Tensor4D {
  const headDim = x.shape[3];
  const turned = reshape(matMul(reshape(x, [x.size / headDim, headDim]), quarterTurn), x.shape);
  return add(mul(x, cosine), mul(turned, sine));
}
