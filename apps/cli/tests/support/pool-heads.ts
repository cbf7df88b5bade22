import { type CompressedLayer, createNormalRandom, type ModelSource, stockLayout } from '@kvlr/core';

/**
 * One layer with the KV heads of each group replaced by their mean, and small random biases on all four projections, where they are not
 * left out: a crude model, but one with fewer KV heads than query heads and with every tensor an export can carry.
 */
export async function poolHeads(
  model: ModelSource,
  layer: number,
  groups: number,
  { biases = true } = {},
): Promise<CompressedLayer> {
  const { numAttentionHeads, numKeyValueHeads, headDim, hiddenSize } = model.shape;
  const size = numKeyValueHeads / groups;
  const read = async (role: 'queryWeight' | 'keyWeight' | 'valueWeight' | 'outputWeight') =>
    Float64Array.from(await model.tensors.readFloat32(model.tensorName(role, layer)));
  const pool = (weights: Float64Array): Float64Array => {
    const block = headDim * hiddenSize;
    return Float64Array.from({ length: groups * block }, (_, index) => {
      const first = Math.floor(index / block) * size * block + (index % block);
      let sum = 0;
      for (let head = 0; head < size; head++) sum += weights[first + head * block]!;
      return sum / size;
    });
  };
  const normal = createNormalRandom(layer);
  const bias = (length: number): Float64Array => Float64Array.from({ length }, () => 0.1 * normal());
  return {
    layer,
    groups: Array.from({ length: groups }, (_, group) => Array.from({ length: size }, (__, i) => group * size + i)),
    queryOrder: Array.from({ length: numAttentionHeads }, (_, head) => head),
    slots: stockLayout(groups, headDim),
    keys: { kind: 'stock' },
    weights: {
      query: await read('queryWeight'),
      key: pool(await read('keyWeight')),
      value: pool(await read('valueWeight')),
      output: await read('outputWeight'),
      ...(biases && {
        queryBias: bias(numAttentionHeads * headDim),
        keyBias: bias(groups * headDim),
        valueBias: bias(groups * headDim),
        outputBias: bias(hiddenSize),
      }),
    },
  };
}
