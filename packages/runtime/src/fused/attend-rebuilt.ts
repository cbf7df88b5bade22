import { readEntries } from '@kvlr/kernels';
import {
  add,
  matMul,
  reshape,
  softmax,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
  transpose,
} from '@tensorflow/tfjs-core';
import { rebuildKeys } from '../blocks/attention-block.ts';
import { createSequenceContext } from '../blocks/sequence-context.ts';
import type { AppendTensors, CacheStep } from '../cache/cache-step.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';

/**
 * Attention of a layer with rebuilt keys (Palu, arXiv 2407.21118): appended by the fused kernel, attended by stock ops, because the
 * keys of all cached positions are made anew at every step. One sequence. Call inside tf.tidy.
 */
export function attendRebuilt(
  layer: number,
  projected: Tensor2D,
  tensors: AppendTensors & { rebuiltKeyDecoder?: Tensor3D },
  cache: KeyValueCache,
  step: CacheStep,
): Tensor2D {
  const { shape, capacity } = cache;
  const heads = shape.numAttentionHeads;
  const { valueSlots, valueSlotWidth } = shape.layers[layer]!;
  const tokens = projected.shape[0];
  const queries: Tensor = step.append(layer, projected, tensors);
  const { keys: latents, values } = readEntries(cache.wordsOf(layer), cache.formats[layer]!);
  const context = createSequenceContext({
    shape,
    batch: 1,
    tokens,
    firstPosition: cache.length,
    keyPositions: capacity,
  });
  const keys = rebuildKeys(latents, tensors.rebuiltKeyDecoder!, { shape, context });
  const keyHeads = keys.shape[1];
  const byToken = reshape(queries, [tokens, heads, shape.headDim]);
  const bySlot: Tensor4D = reshape(transpose(byToken, [1, 0, 2]), [
    1,
    keyHeads,
    (heads / keyHeads) * tokens,
    shape.headDim,
  ]);
  const scores = reshape(matMul(bySlot, keys, false, true), [1, heads, tokens, capacity]);
  const attention = softmax(add(scores, context.mask));
  const weighted = matMul(reshape(attention, [1, valueSlots, (heads / valueSlots) * tokens, capacity]), values);
  const byHead = reshape(weighted, [heads, tokens, valueSlotWidth]);
  return reshape(transpose(byHead, [1, 0, 2]), [tokens, heads * valueSlotWidth]);
}
