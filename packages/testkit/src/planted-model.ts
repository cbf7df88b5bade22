import { createNormalRandom, type DenseTensor } from '@kvlr/core';
import { createTinyModel, type TinyModel, type TinyModelSettings } from './tiny-model.ts';

export interface PlantedModelSettings extends TinyModelSettings {
  /** KV heads that can be merged without loss, every head once. */
  groups: readonly (readonly number[])[];
  /** Width of the merged head in heads: how many heads of a group the others are made of. Default 1. */
  rank?: number;
}

/**
 * A tiny model with an exact merge planted in it. Within each group, the keys of the other heads are sums of complex multiples of
 * the first heads' keys (`rank` of them), a multiple of its own for each head and frequency pair (j, j + headDim/2); the values of
 * the other heads are sums of full linear maps of the first heads' values, so that a group's values have rank times headDim.
 * Biases included. Nothing else is special: merging these groups into one KV head of this many widths each must leave the logits
 * as they are.
 */
export function createPlantedModel({ groups, rank = 1, ...settings }: PlantedModelSettings): TinyModel {
  const model = createTinyModel(settings);
  const { headDim, numLayers } = model.shape;
  const normal = createNormalRandom((settings.seed ?? 1) + 1000);
  for (let layer = 0; layer < numLayers; layer++) {
    const projection = (weight: 'keyWeight' | 'valueWeight', bias: 'keyBias' | 'valueBias'): DenseTensor[] =>
      [model.dense.get(model.tensorName(weight, layer)), model.dense.get(model.tensorName(bias, layer))].filter(
        (tensor) => tensor !== undefined,
      );
    const keys = projection('keyWeight', 'keyBias');
    const values = projection('valueWeight', 'valueBias');
    for (const group of groups) {
      const sources = group.slice(0, rank);
      for (const head of group.slice(rank)) {
        const maps = sources.map((source) => ({
          source,
          key: phasorMap(headDim, normal),
          value: denseMap(headDim, normal),
        }));
        plant(
          keys,
          maps.map(({ source, key }) => ({ source, map: key })),
          head,
          headDim,
        );
        plant(
          values,
          maps.map(({ source, value }) => ({ source, map: value })),
          head,
          headDim,
        );
      }
    }
  }
  return model;
}

/** [headDim, headDim] of the complex multiples c_j: of modulus about 0.5 to 1.5, of any phase. */
function phasorMap(headDim: number, normal: () => number): Float64Array {
  const map = new Float64Array(headDim * headDim);
  const half = headDim / 2;
  for (let j = 0; j < half; j++) {
    const modulus = 1 + 0.5 * Math.tanh(normal());
    const phase = Math.PI * normal();
    map[j * headDim + j] = modulus * Math.cos(phase);
    map[j * headDim + j + half] = -modulus * Math.sin(phase);
    map[(j + half) * headDim + j] = modulus * Math.sin(phase);
    map[(j + half) * headDim + j + half] = modulus * Math.cos(phase);
  }
  return map;
}

function denseMap(headDim: number, normal: () => number): Float64Array {
  return Float64Array.from({ length: headDim * headDim }, () => normal() / Math.sqrt(headDim));
}

/** Overwrites the rows of head `target` with the sum of each map * the rows of its head `source`. */
function plant(
  tensors: DenseTensor[],
  sources: readonly { source: number; map: Float64Array }[],
  target: number,
  headDim: number,
): void {
  for (const { shape, data } of tensors) {
    const width = shape[1] ?? 1;
    for (let row = 0; row < headDim; row++) {
      for (let column = 0; column < width; column++) {
        let sum = 0;
        for (const { source, map } of sources) {
          for (let inner = 0; inner < headDim; inner++) {
            sum += map[row * headDim + inner]! * data[(source * headDim + inner) * width + column]!;
          }
        }
        data[(target * headDim + row) * width + column] = sum;
      }
    }
  }
}
