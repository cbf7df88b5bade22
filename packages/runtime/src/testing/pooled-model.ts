import { overlayModel } from '@kvlr/checkpoint';
import { type DenseTensor, type ModelSource, stockLayout, type TensorRole } from '@kvlr/core';

/** For tests: a model of any family with fewer KV heads, each the mean of neighbouring ones. */
export async function poolHeads(model: ModelSource, heads: number): Promise<ModelSource> {
  const { shape } = model;
  const { headDim, hiddenSize, numKeyValueHeads, attention } = shape;
  const tensors = new Map<string, DenseTensor>();
  const pool = async (role: TensorRole, layer: number, width: number): Promise<void> => {
    const name = model.tensorName(role, layer);
    const rows = await model.tensors.readFloat32(name);
    const share = numKeyValueHeads / heads;
    const size = headDim * width;
    const data = new Float32Array(heads * size);
    rows.forEach((value, place) => {
      const head = Math.floor(place / size);
      data[Math.floor(head / share) * size + (place % size)]! += value / share;
    });
    tensors.set(name, { shape: width === 1 ? [heads * headDim] : [heads * headDim, width], data });
  };
  for (let layer = 0; layer < shape.numLayers; layer++) {
    for (const part of ['key', 'value'] as const) {
      await pool(`${part}Weight`, layer, hiddenSize);
      if (attention.inputBias) await pool(`${part}Bias`, layer, 1);
    }
  }
  const layers = shape.layers.map((layer) => ({ ...layer, cache: stockLayout(heads, headDim) }));
  const id = `${model.id} in ${heads} heads`;
  return overlayModel(model, { shape: { ...shape, numKeyValueHeads: heads, layers }, tensors, id });
}
