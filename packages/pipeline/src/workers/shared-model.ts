import { type DecoderShape, KvlrError, type ModelSource, type TensorInfo, tensorRoles } from '@kvlr/core';

/** A model in a form that threads share: float32 tensors in shared memory, and the names that the roles stand for. */
export interface SharedModel {
  id: string;
  shape: DecoderShape;
  tensors: Map<string, { info: TensorInfo; values: Float32Array }>;
  /** Per role, the tensor's name without a layer and in each layer. */
  names: Map<string, string>;
}

/** Copies a model into shared memory, once for all threads: 4 bytes a parameter. */
export async function shareModel(source: ModelSource): Promise<SharedModel> {
  const names = new Map<string, string>();
  const layers = [undefined, ...source.shape.layers.keys()];
  for (const role of tensorRoles) {
    for (const layer of layers) {
      const name = nameOf(source, role, layer);
      if (name !== undefined && source.tensors.has(name)) names.set(keyOf(role, layer), name);
    }
  }
  const tensors: SharedModel['tensors'] = new Map();
  for (const name of new Set(names.values())) {
    const read = await source.tensors.readFloat32(name);
    const values = new Float32Array(new SharedArrayBuffer(read.byteLength));
    values.set(read);
    const { shape } = source.tensors.info(name);
    tensors.set(name, { info: { name, dtype: 'F32', shape, byteLength: values.byteLength }, values });
  }
  return { id: source.id, shape: source.shape, tensors, names };
}

/** The model again, on the other side. */
export function sourceOfSharedModel({ id, shape, tensors, names }: SharedModel): ModelSource {
  const find = (name: string) => {
    const tensor = tensors.get(name);
    if (tensor) return tensor;
    throw new KvlrError('tensor-missing', {
      message: `sourceOfSharedModel: expected a tensor ${name}, got ${tensors.size} others.`,
      data: { tensor: name },
    });
  };
  return {
    id,
    shape,
    tensorName: (role, layer) => names.get(keyOf(role, layer)) ?? keyOf(role, layer),
    tensors: {
      list: () => [...tensors.values()].map(({ info }) => info),
      has: (name) => tensors.has(name),
      info: (name) => find(name).info,
      readBytes: async (name) => new Uint8Array(find(name).values.slice().buffer),
      readFloat32: async (name) => find(name).values.slice(),
      close: async () => {},
    },
  };
}

function keyOf(role: string, layer: number | undefined): string {
  return layer === undefined ? role : `${role} of layer ${layer}`;
}

/** Architectures know some roles only per layer, and some not at all. */
function nameOf(source: ModelSource, role: (typeof tensorRoles)[number], layer: number | undefined) {
  try {
    return source.tensorName(role, layer);
  } catch (error) {
    if (KvlrError.isInstance(error)) return undefined;
    throw error;
  }
}
