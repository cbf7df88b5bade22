import type { ModelSource, TensorDtype, TensorInfo } from '@kvlr/core';
import { isLatentTensorRole, latentTensorNames } from '../architectures/latent-tensor-names.ts';
import type { WeightDtype } from '../dtypes/encode-floats.ts';
import { expectedTensors } from '../model/expected-tensors.ts';
import { type TensorPlan, tensorByteLength } from './encode-safetensors.ts';

const floatDtypes: readonly TensorDtype[] = ['F64', 'F32', 'F16', 'BF16'];

export interface TensorPlanSettings {
  /** The model it was made from: its tensors' types are kept, and changed or new weights take the type it uses. */
  source?: ModelSource;
  /** One type for all weights, instead. */
  dtype?: WeightDtype;
}

/** Which tensors a written checkpoint holds, and in which type, in the order of the model's own list. */
export function planTensors(model: ModelSource, settings: TensorPlanSettings = {}): TensorPlan[] {
  const stale = staleLatentTensors(model);
  return model.tensors
    .list()
    .filter(({ name }) => !stale.has(name))
    .map((info) => ({ name: info.name, dtype: plannedDtype(info, settings), shape: info.shape }));
}

/** Size of the weights of a checkpoint that is written so, in bytes, without headers. */
export function plannedBytes(model: ModelSource, settings: TensorPlanSettings = {}): number {
  return planTensors(model, settings).reduce((sum, { dtype, shape }) => sum + tensorByteLength(dtype, shape), 0);
}

function plannedDtype({ name, dtype }: TensorInfo, { source, dtype: wanted }: TensorPlanSettings): TensorDtype {
  if (!floatDtypes.includes(dtype)) return dtype;
  if (wanted !== undefined) return wanted;
  if (source?.tensors.has(name)) return source.tensors.info(name).dtype;
  const usual = source?.tensors.info(source.tensorName('queryWeight', 0)).dtype ?? dtype;
  return usual === 'F64' ? 'F32' : usual;
}

/** Tensors of kvlr's own layouts that the base model had and that the present layout does not use. */
function staleLatentTensors(model: ModelSource): Set<string> {
  const used = new Set(expectedTensors(model.shape).map(({ role, layer }) => model.tensorName(role, layer)));
  const own = model.shape.layers.flatMap((_, layer) =>
    Object.keys(latentTensorNames)
      .filter(isLatentTensorRole)
      .map((role) => model.tensorName(role, layer)),
  );
  return new Set(own.filter((name) => !used.has(name)));
}
