import type { DecoderShape, LayerCacheLayout } from '@kvlr/core';
import {
  add,
  matMul,
  mul,
  reshape,
  softmax,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
  transpose,
} from '@tensorflow/tfjs-core';
import type { AttentionTensors } from './layer-weights.ts';
import { project } from './project.ts';
import { rmsNorm } from './rms-norm.ts';
import { rotate, rotateHeads } from './rotate-heads.ts';
import type { SequenceContext } from './sequence-context.ts';

/** What is cached. Keys [batch, keySlots, positions, keySlotWidth] and values [batch, valueSlots, positions, valueSlotWidth]. */
interface CacheEntries {
  keys: Tensor4D;
  values: Tensor4D;
}

export interface AttentionBlockSettings {
  shape: Pick<DecoderShape, 'numAttentionHeads' | 'headDim' | 'rmsNormEpsilon'>;
  layout: LayerCacheLayout;
  context: SequenceContext;
}

/** Every stage of the block, one row per token, [batch * tokens, ...]. q, k, v are before RoPE, with their biases. */
export interface AttentionStages {
  blockInput: Tensor2D;
  query: Tensor2D;
  key: Tensor2D;
  value: Tensor2D;
  attended: Tensor2D;
  /** To be added to the stream. */
  blockOutput: Tensor2D;
}

/**
 * One attention block over any cache layout, differentiable in the stream and in every weight. Query head h of H reads key
 * slot floor(h * keySlots / H): the heads of a slot are contiguous, so their queries are rows of one product with the slot.
 * Stock keys are rotated and cached as they are. Latent keys are rotated for all heads of the source, then encoded into the
 * slots; queries are rotated, then encoded per head (Yu et al. 2024, arXiv 2406.07056). Rebuilt keys are cached as latents
 * from before RoPE; the keys of all heads are made of them anew and rotated, for every position (Palu, arXiv 2407.21118).
 *
 * Call inside tf.tidy. `stream` is [batch * tokens, hiddenSize]; positions and mask come from `context`.
 */
export function attentionBlock(
  stream: Tensor2D,
  weights: AttentionTensors,
  settings: AttentionBlockSettings,
): AttentionStages {
  const { shape, layout, context } = settings;
  const { batch, tokens, mask } = context;
  const heads = shape.numAttentionHeads;
  const blockInput = rmsNorm(stream, weights.attentionNorm, shape.rmsNormEpsilon);
  const query = project(blockInput, weights.query, weights.queryBias);
  const key = project(blockInput, weights.key, weights.keyBias);
  const value = project(blockInput, weights.value, weights.valueBias);

  const entries: CacheEntries = {
    keys: keySlots(key, weights, settings),
    values: transpose<Tensor4D>(
      reshape(value, [batch, tokens, layout.valueSlots, layout.valueSlotWidth]),
      [0, 2, 1, 3],
    ),
  };
  const keys = weights.rebuiltKeyDecoder
    ? rebuildKeys(entries.keys, weights.rebuiltKeyDecoder, settings)
    : entries.keys;
  const [, keyHeads, positions, keyWidth] = keys.shape;

  const scaled = mul(headQueries(query, weights, settings), 1 / Math.sqrt(shape.headDim));
  const queryRows = (heads / keyHeads) * tokens;
  const bySlot: Tensor4D = reshape(scaled, [batch, keyHeads, queryRows, keyWidth]);
  const scores = reshape(matMul(bySlot, keys, false, true), [batch, heads, tokens, positions]);
  const attention = softmax(add(scores, mask));
  const valueRows = (heads / layout.valueSlots) * tokens;
  const weighted = matMul(reshape(attention, [batch, layout.valueSlots, valueRows, positions]), entries.values);
  const byHead: Tensor4D = reshape(weighted, [batch, heads, tokens, layout.valueSlotWidth]);
  const attended: Tensor2D = reshape(transpose(byHead, [0, 2, 1, 3]), [batch * tokens, heads * layout.valueSlotWidth]);
  const blockOutput = project(attended, weights.output, weights.outputBias);
  return { blockInput, query, key, value, attended, blockOutput };
}

/** What the cache keeps of the keys, [batch, keySlots, tokens, keySlotWidth]. */
function keySlots(key: Tensor2D, weights: AttentionTensors, settings: AttentionBlockSettings): Tensor4D {
  const { shape, layout, context } = settings;
  const { batch, tokens } = context;
  const width = key.shape[1];
  if (weights.rebuiltKeyDecoder !== undefined) {
    return transpose<Tensor4D>(reshape(key, [batch, tokens, layout.keySlots, layout.keySlotWidth]), [0, 2, 1, 3]);
  }
  const rotated = rotateHeads(key, width / shape.headDim, context);
  if (weights.latentKeyEncoder === undefined) return transpose(rotated, [0, 2, 1, 3]);
  const encoded = matMul(reshape(rotated, [batch * tokens, width]), weights.latentKeyEncoder);
  return transpose(reshape(encoded, [batch, tokens, layout.keySlots, layout.keySlotWidth]), [0, 2, 1, 3]);
}

/** Rotated keys of all heads, [batch, heads, positions, headDim], from latents [batch, keySlots, positions, keySlotWidth]. */
export function rebuildKeys(
  latents: Tensor4D,
  decoder: Tensor3D,
  settings: { shape: Pick<DecoderShape, 'headDim'>; context: SequenceContext },
): Tensor4D {
  const { shape, context } = settings;
  const { headDim } = shape;
  const [batch, slots, positions, width] = latents.shape;
  const heads = decoder.shape[2] / headDim;
  const bySlot: Tensor3D = reshape(transpose(latents, [1, 0, 2, 3]), [slots, batch * positions, width]);
  const rebuilt: Tensor4D = reshape(matMul(bySlot, decoder), [slots * batch, positions, heads, headDim]);
  const rotated = transpose(rotate(rebuilt, context.keyRotation!, context), [0, 2, 1, 3]);
  const byWindow = transpose(reshape(rotated, [slots, batch, heads * positions * headDim]), [1, 0, 2]);
  return reshape(byWindow, [batch, slots * heads, positions, headDim]);
}

/** Rotated (and under latent keys encoded) queries, [batch, heads, tokens, keySlotWidth]. */
function headQueries(query: Tensor2D, weights: AttentionTensors, settings: AttentionBlockSettings): Tensor4D {
  const { shape, layout, context } = settings;
  const { batch, tokens } = context;
  const heads = shape.numAttentionHeads;
  const rotated = rotateHeads(query, heads, context);
  if (weights.latentQueryEncoder === undefined) return transpose(rotated, [0, 2, 1, 3]);
  const byHead: Tensor3D = reshape(transpose(rotated, [2, 0, 1, 3]), [heads, batch * tokens, shape.headDim]);
  const encoded = matMul(byHead, weights.latentQueryEncoder);
  return transpose(reshape(encoded, [heads, batch, tokens, layout.keySlotWidth]), [1, 0, 2, 3]);
}
