import type { ModelSource } from '@kvlr/core';
import { packWeights, unpackWeights, type WeightFormat } from '@kvlr/kernels';
import { memoryTensorSource, type TinyModel } from '@kvlr/testkit';
import { tableFormat } from '../packed/packed-weights.ts';

/** For tests: the same model with the weights that packing in a format leaves of them. */
export function dequantisedModel(model: TinyModel, format: WeightFormat): ModelSource {
  const dense = new Map(
    [...model.dense].map(([name, { shape, data }]) => {
      const isMatrix = shape.length === 2 && name.includes('_proj');
      const isTable = name.includes('embed') || name.includes('lm_head');
      if (!isMatrix && !isTable) return [name, { shape, data }] as const;
      const [rows, columns] = shape as [number, number];
      const packed = packWeights(Float32Array.from(data), rows, columns, isTable ? tableFormat(format) : format);
      return [name, { shape, data: unpackWeights(packed) }] as const;
    }),
  );
  return { ...model, tensors: memoryTensorSource(dense) };
}
