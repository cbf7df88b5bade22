import type { LayerCacheLayout, ModelShape } from '@kvlr/core';
import { type AttentionTensors, attentionBlock, rmsNorm, rotateHeads, type SequenceContext } from '@kvlr/runtime';
import { add, matMul, mul, reshape, type Tensor1D, type Tensor2D, transpose } from '@tensorflow/tfjs-core';
import { causalAttention } from './causal-attention.ts';

export interface AttentionOutputSettings {
  shape: Pick<ModelShape, 'numAttentionHeads' | 'headDim' | 'rmsNormEpsilon'>;
  layout: LayerCacheLayout;
  context: SequenceContext;
}

/**
 * What an attention block adds to its stream [batch * tokens, hiddenSize], differentiable in the projections. Call inside
 * tf.tidy.
 */
export function attentionOutput(
  stream: Tensor2D,
  weights: AttentionTensors,
  settings: AttentionOutputSettings,
): Tensor2D {
  return outputProjection(attendedValues(stream, weights, settings), weights);
}

/** The last step of the block: attended values [rows, numAttentionHeads * headDim] to [rows, hiddenSize]. */
export function outputProjection(attended: Tensor2D, weights: AttentionTensors): Tensor2D {
  return project(attended, weights.output, weights.outputBias);
}

/**
 * Attended values of all heads, one row per token. The numbers are those of the runtime's `attentionBlock`; the stock
 * layout takes the path that skips the scores of later keys, which makes a training step about a third cheaper.
 */
export function attendedValues(
  stream: Tensor2D,
  weights: AttentionTensors,
  settings: AttentionOutputSettings,
): Tensor2D {
  const { shape, layout, context } = settings;
  const stock = layout.keys === 'stock' && layout.valueSlots === layout.keySlots;
  if (!stock) return attentionBlock(stream, weights, settings).attended;
  const { batch, tokens } = context;
  const { numAttentionHeads: heads, headDim } = shape;
  const slots = layout.keySlots;
  const input = rmsNorm(stream, weights.attentionNorm, shape.rmsNormEpsilon);
  const query = mul(rotateHeads(project(input, weights.query, weights.queryBias), heads, context), headDim ** -0.5);
  const key = rotateHeads(project(input, weights.key, weights.keyBias), slots, context);
  const value = reshape(project(input, weights.value, weights.valueBias), [batch, tokens, slots, headDim]);
  const attended = causalAttention(
    reshape(transpose(query, [0, 2, 1, 3]), [batch * slots, heads / slots, tokens, headDim]),
    reshape(transpose(key, [0, 2, 1, 3]), [batch * slots, tokens, headDim]),
    reshape(transpose(value, [0, 2, 1, 3]), [batch * slots, tokens, headDim]),
    context.mask,
  );
  const byToken = transpose(reshape(attended, [batch, heads, tokens, headDim]), [0, 2, 1, 3]);
  return reshape(byToken, [batch * tokens, heads * headDim]);
}

function project(x: Tensor2D, weight: Tensor2D, bias?: Tensor1D): Tensor2D {
  const product: Tensor2D = matMul(x, weight);
  return bias === undefined ? product : add(product, bias);
}
