import { type CompressedLayer, type ModelSource, stockLayout } from '@kvlr/core';

/**
 * One layer with the KV heads of each group side by side in one head as wide as all of them: pairs of head r of the group at
 * p = r D/2 + j, and query heads that are silent at the pairs of the other heads. A wide head that loses nothing, so that the
 * logits are the model's own, and a cache of the same size.
 */
export async function packHeads(model: ModelSource, layer: number, groups: number): Promise<CompressedLayer> {
  const { numAttentionHeads, numKeyValueHeads, headDim, hiddenSize } = model.shape;
  const size = numKeyValueHeads / groups;
  const width = size * headDim;
  const half = headDim / 2;
  const read = async (role: 'queryWeight' | 'keyWeight' | 'valueWeight' | 'outputWeight') =>
    Float64Array.from(await model.tensors.readFloat32(model.tensorName(role, layer)));
  const [query, key, value, output] = await Promise.all([
    read('queryWeight'),
    read('keyWeight'),
    read('valueWeight'),
    read('outputWeight'),
  ]);
  const readBy = (queryHead: number) => Math.floor((queryHead * numKeyValueHeads) / numAttentionHeads) % size;
  /** Row of a wide head that holds row `row` of its head r. */
  const rotatedRow = (r: number, row: number) => r * half + (row % half) + Math.floor(row / half) * (width / 2);
  const wideQuery = new Float64Array(numAttentionHeads * width * hiddenSize);
  const wideOutput = new Float64Array(hiddenSize * numAttentionHeads * width);
  for (let head = 0; head < numAttentionHeads; head++) {
    for (let row = 0; row < headDim; row++) {
      const source = query.subarray((head * headDim + row) * hiddenSize, (head * headDim + row + 1) * hiddenSize);
      // Scores are divided by the square root of the width.
      const stretched = source.map((entry) => entry * Math.sqrt(size));
      wideQuery.set(stretched, (head * width + rotatedRow(readBy(head), row)) * hiddenSize);
      for (let out = 0; out < hiddenSize; out++) {
        wideOutput[(out * numAttentionHeads + head) * width + readBy(head) * headDim + row] =
          output[(out * numAttentionHeads + head) * headDim + row]!;
      }
    }
  }
  const wideKey = new Float64Array(key.length);
  for (let row = 0; row < numKeyValueHeads * headDim; row++) {
    const head = Math.floor(row / headDim);
    const target = Math.floor(head / size) * width + rotatedRow(head % size, row % headDim);
    wideKey.set(key.subarray(row * hiddenSize, (row + 1) * hiddenSize), target * hiddenSize);
  }
  return {
    layer,
    groups: Array.from({ length: groups }, (_, group) => Array.from({ length: size }, (__, i) => group * size + i)),
    queryOrder: Array.from({ length: numAttentionHeads }, (_, head) => head),
    slots: stockLayout(groups, width),
    keys: { kind: 'stock' },
    weights: { query: wideQuery, key: wideKey, value, output: wideOutput },
  };
}
