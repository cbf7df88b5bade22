import { type DecoderShape, type DenseTensor, KvlrError, type ModelSource, type TensorInfo } from '@kvlr/core';
import { fillLayer, isLatentTensorRole, latentTensorNames } from '../architectures/latent-tensor-names.ts';
import { findNonFinite } from '../safetensors/find-non-finite.ts';

export interface ModelChanges {
  shape: DecoderShape;
  /** Tensors that are replaced or added, by name. */
  tensors: ReadonlyMap<string, DenseTensor>;
  id: string;
}

/** A variant of a model, in memory: some tensors changed, the others still read from the base when asked for. */
export function overlayModel(base: ModelSource, changes: ModelChanges): ModelSource {
  const { tensors: changed } = changes;
  const infoOf = (name: string): TensorInfo => {
    const tensor = changed.get(name);
    if (tensor === undefined) return base.tensors.info(name);
    const dtype = tensor.data instanceof Float64Array ? 'F64' : 'F32';
    return { name, dtype, shape: [...tensor.shape], byteLength: tensor.data.byteLength };
  };
  return {
    id: changes.id,
    shape: changes.shape,
    tensorName: (role, layer) =>
      isLatentTensorRole(role) ? fillLayer(latentTensorNames[role], role, layer) : base.tensorName(role, layer),
    tensors: {
      list: () => {
        const names = new Set([...base.tensors.list().map(({ name }) => name), ...changed.keys()]);
        return [...names].map(infoOf);
      },
      has: (name) => changed.has(name) || base.tensors.has(name),
      info: infoOf,
      async readBytes(name) {
        const data = changed.get(name)?.data;
        if (data === undefined) return base.tensors.readBytes(name);
        return new Uint8Array(data.slice().buffer);
      },
      async readFloat32(name) {
        const data = changed.get(name)?.data;
        if (data === undefined) return base.tensors.readFloat32(name);
        const values = Float32Array.from(data);
        const element = findNonFinite(values);
        if (element !== undefined) throw nonFinite(changes.id, name, element, values[element]!);
        return values;
      },
      // The base stays open: other variants may share it, and whoever opened it closes it.
      close: async () => {},
    },
  };
}

function nonFinite(model: string, tensor: string, element: number, value: number): KvlrError {
  return new KvlrError('non-finite', {
    message: `readFloat32: expected finite numbers in the changed tensor ${tensor}, got ${value} at element ${element}`,
    data: { model, tensor, element, received: String(value) },
  });
}
