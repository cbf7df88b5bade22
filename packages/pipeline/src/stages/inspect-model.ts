import { type CacheSize, type Checkpoint, cacheSize, KvlrError, type TensorDtype, type Tokenizer } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { resolveKeyValueHeads } from '../recipe/resolve-key-value-heads.ts';

/** What is known of a model before anything is computed. */
export interface ModelInspection {
  keyValueHeads: number;
  tokenizer: Tokenizer;
  /** Element type of the attention weights in the file. */
  sourceDtype: TensorDtype;
  /** The cache of the source, at the element size of its weights. */
  cache: CacheSize;
}

const bytesOfDtype: Partial<Record<TensorDtype, number>> = { F32: 4, F16: 2, BF16: 2 };

/** Element type of a model's attention weights. Cache sizes are stated at its width. */
export function attentionDtype(model: Checkpoint): TensorDtype {
  return model.tensors.info(model.tensorName('keyWeight', 0)).dtype;
}

/** Bytes of one number of the cache when it has the element type of the weights; 2 for types that no cache uses. */
export function cacheElementBytes(dtype: TensorDtype): number {
  return bytesOfDtype[dtype] ?? 2;
}

/**
 * Checks everything that can be checked before work begins.
 *
 * @throws KvlrError 'heads-not-divisible', 'tokenizer-mismatch', 'recipe-invalid' (windows longer than the model's context),
 *   'unsupported-feature' (a model that kvlr has compressed into a layout of its own before).
 */
export async function inspectModel(model: Checkpoint, recipe: Recipe): Promise<ModelInspection> {
  const { shape } = model;
  const keyValueHeads = resolveKeyValueHeads(shape, recipe.keyValueHeads);
  const native = shape.layers
    .map(({ cache }) => cache)
    .find(({ keys, keySlots, valueSlots }) => keys !== 'stock' || keySlots !== valueSlots);
  if (native !== undefined) {
    throw new KvlrError('unsupported-feature', {
      message: `inspectModel: expected a model with ordinary grouped-query attention, got ${native.keys} keys in ${native.keySlots} slots with ${native.valueSlots} value slots in ${model.location}`,
      hint: 'Compress the model that this one was made from.',
      data: { file: model.location },
    });
  }
  const { calibration, recovery, evaluation } = recipe;
  const reconstructed = recovery.preset === 'none' ? 0 : recovery.windowLength;
  const distilled = recovery.distillation?.windowLength ?? 0;
  const longest = Math.max(calibration.windowLength, reconstructed, distilled, evaluation.windowLength - 1);
  if (longest > shape.maxPositionEmbeddings) {
    throw new KvlrError('recipe-invalid', {
      message: `inspectModel: expected windows of at most ${shape.maxPositionEmbeddings} tokens, the model's context, got ${longest}`,
      hint: 'Lower the entries windowLength of the recipe.',
      data: { maxPositionEmbeddings: shape.maxPositionEmbeddings, windowLength: longest },
    });
  }
  const tokenizer = await model.tokenizer();
  const sourceDtype = attentionDtype(model);
  return { keyValueHeads, tokenizer, sourceDtype, cache: cacheSize(shape, cacheElementBytes(sourceDtype)) };
}
