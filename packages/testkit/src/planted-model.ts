import { createNormalRandom, type DenseTensor } from '@kvlr/core';
import { createTinyModel, type TinyModel, type TinyModelSettings } from './tiny-model.ts';

export interface PlantedModelSettings extends TinyModelSettings {
  /** KV heads that can be merged without loss, every head once. */
  groups: readonly (readonly number[])[];
}

/**
 * A tiny model with an exact merge planted in it. Within each group, the keys of the other heads are complex multiples of
 * the first head's key, a multiple of its own for each head and frequency pair (j, j + headDim/2); the values of the other
 * heads are full linear maps of the first head's value, so that a group's values have rank headDim. Biases included.
 * Nothing else is special: merging these groups into one KV head each must leave the logits as they are.
 */
export function createPlantedModel({ groups, ...settings }: PlantedModelSettings): TinyModel {
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
    for (const [first, ...others] of groups) {
      for (const head of others) {
        plant(keys, first!, head, headDim, phasorMap(headDim, normal));
        plant(values, first!, head, headDim, denseMap(headDim, normal));
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

/** Overwrites the rows of head `target` with map * the rows of head `source`. */
function plant(tensors: DenseTensor[], source: number, target: number, headDim: number, map: Float64Array): void {
  for (const { shape, data } of tensors) {
    const width = shape[1] ?? 1;
    for (let row = 0; row < headDim; row++) {
      for (let column = 0; column < width; column++) {
        let sum = 0;
        for (let inner = 0; inner < headDim; inner++) {
          sum += map[row * headDim + inner]! * data[(source * headDim + inner) * width + column]!;
        }
        data[(target * headDim + row) * width + column] = sum;
      }
    }
  }
}
