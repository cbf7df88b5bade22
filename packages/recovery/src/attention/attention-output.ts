import type { DecoderShape, LayerCacheLayout } from '@kvlr/core';
import { type AttentionTensors, attentionBlock, rmsNorm, rotateHeads, type SequenceContext } from '@kvlr/runtime';
import { add, matMul, mul, reshape, type Tensor2D, transpose } from '@tensorflow/tfjs-core';
import { causalAttention } from './causal-attention.ts';
import type { LowRankAdapters, Projection } from './low-rank-adapters.ts';

export interface AttentionOutputSettings {
  shape: Pick<DecoderShape, 'numAttentionHeads' | 'headDim' | 'rmsNormEpsilon'>;
  layout: LayerCacheLayout;
  context: SequenceContext;
  /** Added to the projections. Stock layout only. */
  adapters?: LowRankAdapters;
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
  return outputProjection(attendedValues(stream, weights, settings), weights, settings.adapters);
}

/** The last step of the block: attended values [rows, numAttentionHeads * headDim] to [rows, hiddenSize]. */
export function outputProjection(attended: Tensor2D, weights: AttentionTensors, adapters?: LowRankAdapters): Tensor2D {
  return project(attended, 'output', weights, adapters);
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
  const { shape, layout, context, adapters } = settings;
  const stock = layout.keys === 'stock' && layout.valueSlots === layout.keySlots;
  if (!stock) return attentionBlock(stream, weights, settings).attended;
  const { batch, tokens } = context;
  const { numAttentionHeads: heads, headDim } = shape;
  const slots = layout.keySlots;
  const input = rmsNorm(stream, weights.attentionNorm, shape.rmsNormEpsilon);
  const query = mul(rotateHeads(project(input, 'query', weights, adapters), heads, context), headDim ** -0.5);
  const key = rotateHeads(project(input, 'key', weights, adapters), slots, context);
  const value = reshape(project(input, 'value', weights, adapters), [batch, tokens, slots, headDim]);
  const attended = causalAttention(
    reshape(transpose(query, [0, 2, 1, 3]), [batch * slots, heads / slots, tokens, headDim]),
    reshape(transpose(key, [0, 2, 1, 3]), [batch * slots, tokens, headDim]),
    reshape(transpose(value, [0, 2, 1, 3]), [batch * slots, tokens, headDim]),
    context.mask,
  );
  const byToken = transpose(reshape(attended, [batch, heads, tokens, headDim]), [0, 2, 1, 3]);
  return reshape(byToken, [batch * tokens, heads * headDim]);
}

/** x W + x A B + bias. The product A B is never formed: it is as large as W. */
function project(x: Tensor2D, part: Projection, weights: AttentionTensors, adapters?: LowRankAdapters): Tensor2D {
  const adapter = adapters?.[part];
  const bias = weights[`${part}Bias`];
  let product: Tensor2D = matMul(x, weights[part]);
  if (adapter !== undefined) product = add(product, matMul(matMul(x, adapter.down), adapter.up));
  return bias === undefined ? product : add(product, bias);
}
