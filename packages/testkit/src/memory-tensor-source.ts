import { type DenseTensor, KvlrError, type TensorInfo, type TensorSource } from '@kvlr/core';

/** A TensorSource over float32 tensors held in memory. */
export function memoryTensorSource(tensors: Map<string, DenseTensor>): TensorSource {
  const find = (name: string): DenseTensor => {
    const tensor = tensors.get(name);
    if (!tensor) throw new KvlrError('tensor-missing', { message: `memoryTensorSource: no tensor named ${name}` });
    return tensor;
  };
  const info = (name: string): TensorInfo => {
    const { shape, data } = find(name);
    return { name, dtype: 'F32', shape: [...shape], byteLength: data.length * 4 };
  };
  return {
    list: () => [...tensors.keys()].map(info),
    has: (name) => tensors.has(name),
    info,
    readBytes: async (name) => new Uint8Array(Float32Array.from(find(name).data).buffer),
    readFloat32: async (name) => Float32Array.from(find(name).data),
    close: async () => {},
  };
}
