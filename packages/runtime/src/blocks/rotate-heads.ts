import { add, matMul, mul, reshape, type Tensor2D, type Tensor4D } from '@tensorflow/tfjs-core';
import type { SequenceContext } from './sequence-context.ts';

/**
 * Rotary position embedding (Su et al. 2021), half-split layout: x [batch * tokens, heads * headDim] to
 * [batch, tokens, heads, headDim]. The quarter turn is a product with a signed permutation: exact, differentiable, and on
 * every backend cheaper than cutting the heads in halves and joining them again.
 */
export function rotateHeads(x: Tensor2D, heads: number, context: SequenceContext): Tensor4D {
  const { batch, tokens, cosine, sine, quarterTurn } = context;
  const headDim = x.shape[1] / heads;
  const rows = reshape(x, [batch * tokens * heads, headDim]);
  const shape: [number, number, number, number] = [batch, tokens, heads, headDim];
  const turned = reshape(matMul(rows, quarterTurn), shape);
  return add(mul(reshape(rows, shape), cosine), mul(turned, sine));
}
