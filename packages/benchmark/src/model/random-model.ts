import { expectedTensors, findArchitecture } from '@kvlr/checkpoint';
import {
  createNormalRandom,
  createRandom,
  type DecoderShape,
  KvlrError,
  type ModelSource,
  type TensorInfo,
  type TensorRole,
} from '@kvlr/core';

/** Numbers that are drawn; each tensor repeats them from a place of its own. A prime, so that its rows differ. */
const POOL_SIZE = 262_139;

/**
 * A model of some shape with seeded random weights, for measurements of time: it depends on sizes, not on values. Names are those of
 * LLaMA. Tensors are made when they are read, so that only one is in memory, and they are not independent of each other. Matrices are
 * scaled to keep the stream's size; norm weights are 1.
 */
export function createRandomModel(shape: DecoderShape, seed = 0): ModelSource {
  const normal = createNormalRandom(seed);
  const pool = Float32Array.from({ length: POOL_SIZE }, normal);
  const names: Partial<Record<TensorRole, string>> = findArchitecture('llama').tensors;
  const nameOf: ModelSource['tensorName'] = (role, layer) => {
    const stored = role === 'languageModelHead' && shape.tieWordEmbeddings ? 'embedding' : role;
    return (names[stored] ?? `model.layers.{layer}.${stored}`).replace('{layer}', String(layer));
  };
  const tensors = new Map(
    expectedTensors(shape).map((tensor, index) => [nameOf(tensor.role, tensor.layer), { ...tensor, index }]),
  );
  const find = (name: string) => {
    const tensor = tensors.get(name);
    if (tensor === undefined) {
      throw new KvlrError('tensor-missing', {
        message: `createRandomModel: expected a tensor of the shape, got ${name}.`,
      });
    }
    return tensor;
  };
  const info = (name: string): TensorInfo => {
    const dimensions = find(name).shape;
    return { name, dtype: 'F32', shape: [...dimensions], byteLength: 4 * product(dimensions) };
  };
  const readFloat32 = async (name: string) => {
    const { shape: dimensions, role, index } = find(name);
    const values = new Float32Array(product(dimensions));
    if (role.endsWith('Norm')) return values.fill(1);
    const scale = role === 'embedding' ? 1 : 1 / Math.sqrt(dimensions[dimensions.length - 1]!);
    const start = Math.floor(createRandom(seed + index)() * POOL_SIZE);
    for (let i = 0, from = start; i < values.length; i++) {
      values[i] = scale * pool[from]!;
      if (++from === POOL_SIZE) from = 0;
    }
    return values;
  };
  return {
    id: `random-${seed}-${JSON.stringify(shape)}`,
    shape,
    tensorName: nameOf,
    tensors: {
      list: () => [...tensors.keys()].map(info),
      has: (name) => tensors.has(name),
      info,
      readBytes: async (name) => new Uint8Array((await readFloat32(name)).buffer),
      readFloat32,
      close: async () => {},
    },
  };
}

function product(dimensions: readonly number[]): number {
  return dimensions.reduce((size, length) => size * length, 1);
}
