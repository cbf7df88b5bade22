import {
  countElements,
  createNormalRandom,
  createRandom,
  type DecoderShape,
  decoderTensors,
  KvlrError,
  type LlamaShapeSettings,
  llamaShape,
  type ModelSource,
  stockLayout,
  type TensorInfo,
} from '@kvlr/core';

/** Random numbers that are made; each tensor repeats them from a place of its own. A prime, so that its rows differ. */
const POOL_SIZE = 262_139;

/**
 * A model of some shape with seeded random weights, for measurements of time: it depends on sizes, not on values. Tensors are made
 * when they are read, so that only one is in memory, and they are not independent of each other. Matrices are scaled to keep the
 * stream's size; norm weights are 1.
 */
export function createRandomModel(shape: DecoderShape, seed = 0): ModelSource {
  const normal = createNormalRandom(seed);
  const pool = Float32Array.from({ length: POOL_SIZE }, normal);
  const nameOf: ModelSource['tensorName'] = (role, layer) => {
    const stored = role === 'languageModelHead' && shape.head.tied ? 'embedding' : role;
    return layer === undefined ? stored : `layers.${layer}.${stored}`;
  };
  const tensors = new Map(
    decoderTensors(shape).map((tensor, index) => [nameOf(tensor.role, tensor.layer), { ...tensor, index }]),
  );
  const find = (name: string) => {
    const tensor = tensors.get(name);
    if (tensor === undefined) {
      throw new KvlrError('tensor-missing', {
        message: 'expected a tensor of the shape.',
        where: { tensor: name },
      });
    }
    return tensor;
  };
  const info = (name: string): TensorInfo => {
    const dimensions = find(name).shape;
    return { name, dtype: 'F32', shape: [...dimensions], byteLength: 4 * countElements(dimensions) };
  };
  const readFloat32 = async (name: string) => {
    const { shape: dimensions, role, index } = find(name);
    const values = new Float32Array(countElements(dimensions));
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

const smolSizes: Omit<LlamaShapeSettings, 'numAttentionHeads' | 'numKeyValueHeads' | 'headDim'> = {
  ...{ numLayers: 30, hiddenSize: 576, intermediateSize: 1536, vocabSize: 49152, maxPositionEmbeddings: 8192 },
  ...{ tied: true, normEpsilon: 1e-5 },
  rope: { type: 'default', theta: 100000 },
};

/** SmolLM2-135M: 30 layers, 576 wide, 9 query heads of 64 over 3 KV heads. */
export const smolShape: DecoderShape = llamaShape({
  ...smolSizes,
  ...{ numAttentionHeads: 9, numKeyValueHeads: 3, headDim: 64 },
});

/**
 * The sizes of SmolLM2-135M with multi-head attention, 8 heads of 72, in place of its 9 of 64 over 3: no model that is published, but
 * one with 8, 4, 2 and 1 KV heads to compare.
 */
export const smolMultiHeadShape: DecoderShape = llamaShape({
  ...smolSizes,
  ...{ numAttentionHeads: 8, numKeyValueHeads: 8, headDim: 72 },
});

/** The sizes of Llama 3.2 1B: 16 layers, 2048 wide, 32 query heads of 64 over 8 KV heads. */
export const llama1bShape: DecoderShape = llamaShape({
  ...{ numLayers: 16, hiddenSize: 2048, intermediateSize: 8192, vocabSize: 128256, maxPositionEmbeddings: 131072 },
  ...{ numAttentionHeads: 32, numKeyValueHeads: 8, headDim: 64, tied: true, normEpsilon: 1e-5 },
  rope: { type: 'default', theta: 500000 },
});

/** The sizes of Llama 2 7B, multi-head attention of 32 heads of 128, at more positions than it has. */
export const llama7bShape: DecoderShape = llamaShape({
  ...{ numLayers: 32, hiddenSize: 4096, intermediateSize: 11008, vocabSize: 32000, maxPositionEmbeddings: 131072 },
  ...{ numAttentionHeads: 32, numKeyValueHeads: 32, headDim: 128, normEpsilon: 1e-5 },
  rope: { type: 'default', theta: 10000 },
});

/** The shape of an ordinary model with another number of KV heads. Throws 'invalid-argument' where the heads cannot be shared evenly. */
export function withKeyValueHeads(shape: DecoderShape, numKeyValueHeads: number): DecoderShape {
  if (!(Number.isInteger(numKeyValueHeads) && shape.numAttentionHeads % numKeyValueHeads === 0)) {
    throw new KvlrError('invalid-argument', {
      message: `expected a divisor of ${shape.numAttentionHeads} query heads, got ${numKeyValueHeads}.`,
      where: { argument: 'numKeyValueHeads' },
      data: { numAttentionHeads: shape.numAttentionHeads, numKeyValueHeads },
    });
  }
  return {
    ...shape,
    numKeyValueHeads,
    layers: shape.layers.map((layer) => ({ ...layer, cache: stockLayout(numKeyValueHeads, shape.headDim) })),
  };
}
