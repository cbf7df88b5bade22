import { decodeFloats, encodeFloats, overlayModel, planTensors, type WeightDtype } from '@kvlr/checkpoint';
import type { DenseTensor, ModelSource } from '@kvlr/core';

/**
 * The model as it will be read back after it was written: every changed weight rounded to the nearest number that its
 * element type in the file holds. The model itself when nothing is rounded.
 *
 * @param source The model it was made from, whose types are kept.
 * @param dtype One type for all weights, instead.
 * @throws KvlrError 'numerical' when a number does not fit into F16.
 */
export async function roundModel(
  model: ModelSource,
  source: ModelSource,
  dtype: WeightDtype | undefined,
): Promise<ModelSource> {
  const tensors = new Map<string, DenseTensor>();
  for (const planned of planTensors(model, { source, dtype })) {
    if (
      (planned.dtype !== 'F16' && planned.dtype !== 'BF16') ||
      model.tensors.info(planned.name).dtype === planned.dtype
    ) {
      continue;
    }
    const values = await model.tensors.readFloat32(planned.name);
    const data = decodeFloats(planned.dtype, encodeFloats(planned.dtype, values));
    tensors.set(planned.name, { shape: planned.shape, data });
  }
  return tensors.size === 0 ? model : overlayModel(model, { shape: model.shape, tensors, id: `${model.id}, rounded` });
}
