import type { Activation, DecoderShape } from '@kvlr/core';
import {
  gatedFeedForward,
  type Activation as KernelActivation,
  normProject,
  projectAdd,
  readEntries,
} from '@kvlr/kernels';
import {
  add,
  matMul,
  mul,
  reshape,
  softmax,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
  transpose,
} from '@tensorflow/tfjs-core';
import { rebuildKeys } from '../blocks/attention-block.ts';
import { activate } from '../blocks/operations.ts';
import { PositionTables } from '../blocks/sequence-context.ts';
import type { AppendTensors, CacheStep } from '../cache/cache-step.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import type { PackedParts, PackedWeights } from './packed-weights.ts';

/** What one layer computed; the stages are those of core's `LayerActivations`. */
export interface FusedStages {
  /** q, k and v of every row side by side, before RoPE. */
  projected: Tensor2D;
  attended: Tensor2D;
  /** The stream after attention. */
  between: Tensor2D;
  /** The stream after the layer. */
  after: Tensor2D;
}

const activations: Partial<Record<Activation, KernelActivation>> = {
  silu: 'silu',
  gelu: 'gelu',
  gelu_pytorch_tanh: 'gelu-tanh',
};

/**
 * One decoder layer over new tokens behind a cache: norm + q, k, v; RoPE + append; attention (one dispatch, or two for a long
 * context); output + residual; norm + gate, up; down + residual. Call inside tf.tidy. Rebuilt keys take stock ops for attention.
 */
export function runFusedLayer(
  stream: Tensor2D,
  weights: PackedWeights,
  layer: number,
  cache: KeyValueCache,
  step: CacheStep,
): FusedStages {
  const { shape } = cache;
  const { matrices, tensors } = weights.layers[layer]!;
  const norm = { weight: tensors.attentionNorm!, epsilon: shape.blocks.norm.epsilon };
  const projected = normProject(stream, norm, matrices.queryKeyValue!, tensors.queryKeyValueBias) as Tensor2D;
  const appended = { ...tensors, rotation: weights.rotation };
  const attended =
    shape.layers[layer]!.cache.keys === 'rebuilt'
      ? attendRebuilt(layer, projected, appended, cache, step)
      : step.attend(layer, projected, appended);
  const between = projectAdd(attended, matrices.output!, stream, tensors.outputBias) as Tensor2D;
  return { projected, attended, between, after: feedForward(between, weights.layers[layer]!, shape) };
}

function feedForward(between: Tensor2D, { matrices, tensors }: PackedParts, shape: DecoderShape): Tensor2D {
  const norm = { weight: tensors.feedForwardNorm!, epsilon: shape.blocks.norm.epsilon };
  const { activation } = shape.feedForward;
  const [gate, up] = [matrices.gate!, matrices.up!];
  // The fused pair has no biases, which are rare.
  const gated = tensors.gateBias
    ? mul(
        activate(normProject(between, norm, gate, tensors.gateBias) as Tensor2D, activation),
        normProject(between, norm, up, tensors.upBias),
      )
    : gatedFeedForward(between, norm, { gate, up, activation: activations[activation]! });
  return projectAdd(gated, matrices.down!, between, tensors.downBias) as Tensor2D;
}

/**
 * Attention of a layer with rebuilt keys (Palu, arXiv 2407.21118): appended by the fused kernel, attended by stock ops, because the
 * keys of all cached positions are made anew at every step. One sequence. Call inside tf.tidy.
 */
function attendRebuilt(
  layer: number,
  projected: Tensor2D,
  tensors: AppendTensors & Record<string, Tensor>,
  cache: KeyValueCache,
  step: CacheStep,
): Tensor2D {
  const { shape, capacity } = cache;
  const heads = shape.numAttentionHeads;
  const { positions, window, cache: layout } = shape.layers[layer]!;
  const { valueSlots, valueSlotWidth } = layout;
  const tokens = projected.shape[0];
  const queries: Tensor = step.append(layer, projected, tensors);
  const { keys: latents, values } = readEntries(cache.wordsOf(layer), cache.formats[layer]!);
  const tables = new PositionTables(shape.headDim);
  const places = Array.from({ length: capacity }, (_, place) => place);
  const rotation = tables.rotation(positions, places, [capacity], capacity);
  const mask = tables.mask(
    positions,
    window,
    places.slice(0, tokens).map((place) => cache.length + place),
    places,
  );
  const keys = rebuildKeys(latents, tensors, shape, rotation);
  const keyHeads = keys.shape[1];
  const byToken = reshape(queries, [tokens, heads, shape.headDim]);
  const bySlot: Tensor4D = reshape(transpose(byToken, [1, 0, 2]), [
    1,
    keyHeads,
    (heads / keyHeads) * tokens,
    shape.headDim,
  ]);
  const scores = reshape(matMul(bySlot, keys, false, true), [1, heads, tokens, capacity]);
  const attention = softmax(add(scores, mask));
  const weighted = matMul(reshape(attention, [1, valueSlots, (heads / valueSlots) * tokens, capacity]), values);
  const byHead = reshape(weighted, [heads, tokens, valueSlotWidth]);
  return reshape(transpose(byHead, [1, 0, 2]), [tokens, heads * valueSlotWidth]);
}
