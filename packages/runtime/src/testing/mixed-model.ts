import { stockLayout } from '@kvlr/core';
import { createTinyModel, type TinyModel, type TinyModelSettings } from '@kvlr/testkit';

/** For tests: a random model whose layers have different numbers of KV heads, from all query heads down to one. */
export function createMixedModel(headsOfLayer: readonly number[], settings: TinyModelSettings = {}): TinyModel {
  const base = createTinyModel({
    ...settings,
    numLayers: headsOfLayer.length,
    numKeyValueHeads: Math.max(...headsOfLayer),
  });
  const { headDim, hiddenSize } = base.shape;
  headsOfLayer.forEach((heads, layer) => {
    for (const role of ['keyWeight', 'valueWeight'] as const) {
      const name = base.tensorName(role, layer);
      const { data } = base.dense.get(name)!;
      const shape = [heads * headDim, hiddenSize];
      base.dense.set(name, { shape, data: data.slice(0, heads * headDim * hiddenSize) });
    }
  });
  const layers = base.shape.layers.map((layer, index) => {
    return { ...layer, cache: stockLayout(headsOfLayer[index]!, headDim) };
  });
  return { ...base, shape: { ...base.shape, layers } };
}
