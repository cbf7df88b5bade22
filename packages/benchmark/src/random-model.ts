import {
  countElements,
  createNormalRandom,
  createRandom,
  type DecoderShape,
  decoderTensors,
  KvlrError,
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

/**
 * The sizes of SmolLM2-135M (30 layers, 576 wide, feed-forward 1536, vocabulary 49,152, 8,192 positions), with 8 query heads of 72
 * as multi-head attention in place of its 9 of 64 over 3, so that 8, 4, 2 and 1 KV heads are all there is to compare.
 */
export const smolShape: DecoderShape = llamaShape({
  ...{ numLayers: 30, hiddenSize: 576, intermediateSize: 1536, vocabSize: 49152, maxPositionEmbeddings: 8192 },
  ...{ numAttentionHeads: 8, numKeyValueHeads: 8, headDim: 72, tied: true, normEpsilon: 1e-5 },
  rope: { type: 'default', theta: 100000 },
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
