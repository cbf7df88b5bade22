import {
  createNormalRandom,
  type DecoderShape,
  type DenseTensor,
  type PositionShape,
  type TensorRole,
} from '@kvlr/core';
import { createTinyModel, type TinyModel, type TinyModelSettings } from './tiny-model.ts';

export interface PlantedModelSettings extends TinyModelSettings {
  /** KV heads that can be merged without loss, every head once. */
  groups: readonly (readonly number[])[];
  /** Width of the merged head in heads: how many heads of a group the others are made of. Default 1. */
  rank?: number;
}

/**
 * A tiny model with an exact merge planted in it. Within each group, the keys of the other heads are sums of complex multiples of
 * the first heads' keys (`rank` of them), a multiple of its own for each head and each pair that rotates, and of full linear maps
 * of what does not rotate; under a norm of queries and keys, multiples of modulus one times a number. The values of
 * the other heads are sums of full linear maps of the first heads' values, so that a group's values have rank times headDim.
 * Biases included; scales of norms are alike in both numbers of a pair. Nothing else is special: merging these groups into one KV
 * head of this many widths each must leave the logits as they are.
 */
export function createPlantedModel({ groups, rank = 1, ...settings }: PlantedModelSettings): TinyModel {
  const model = createTinyModel(settings);
  plantMerge(model.shape, (role, layer) => model.dense.get(model.tensorName(role, layer)), {
    ...{ groups, rank },
    seed: settings.seed ?? 1,
  });
  return model;
}

/** Plants the same in the weights of any model, by changing the tensors that it is given: keys, values and their norms. */
export function plantMerge(
  shape: DecoderShape,
  tensorOf: (role: TensorRole, layer: number) => DenseTensor | undefined,
  { groups, rank = 1, seed }: Pick<PlantedModelSettings, 'groups' | 'rank'> & { seed: number },
): void {
  const { headDim, numLayers, attention } = shape;
  const normal = createNormalRandom(seed + 1000);
  for (let layer = 0; layer < numLayers; layer++) {
    const { positions } = shape.layers[layer]!;
    const present = (...roles: TensorRole[]) =>
      roles.map((role) => tensorOf(role, layer)).filter((tensor) => tensor !== undefined);
    if (attention.queryKeyNorm) {
      for (const norm of present('queryNorm', 'keyNorm')) makeScalesAlike(norm, headDim, positions);
    }
    const keys = present('keyWeight', 'keyBias');
    const values = present('valueWeight', 'valueBias');
    for (const group of groups) {
      const sources = group.slice(0, rank);
      for (const head of group.slice(rank)) {
        const maps = sources.map((source) => ({
          source,
          key: keyMap(headDim, positions, attention.queryKeyNorm !== undefined, normal),
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
}

/**
 * [headDim, headDim] of a map that commutes with a layer's positions: complex multiples of the pairs that rotate, of any phase and
 * of modulus about 0.5 to 1.5, or all of one modulus; any linear map of the rest.
 */
function keyMap(headDim: number, positions: PositionShape, keepsLength: boolean, normal: () => number): Float64Array {
  const map = new Float64Array(headDim * headDim);
  const pairs = pairsOf(positions);
  const common = 1 + 0.5 * Math.tanh(normal());
  for (const [first, second] of pairs) {
    const modulus = keepsLength ? common : 1 + 0.5 * Math.tanh(normal());
    const phase = Math.PI * normal();
    map[first * headDim + first] = modulus * Math.cos(phase);
    map[first * headDim + second] = -modulus * Math.sin(phase);
    map[second * headDim + first] = modulus * Math.sin(phase);
    map[second * headDim + second] = modulus * Math.cos(phase);
  }
  const still = Array.from({ length: headDim }, (_, place) => place).filter((place) => !pairs.flat().includes(place));
  for (const row of still) {
    for (const column of still) map[row * headDim + column] = normal() / Math.sqrt(still.length);
  }
  return map;
}

/** The places in a head of the pairs that rotate. */
function pairsOf(positions: PositionShape): [first: number, second: number][] {
  if (positions.kind !== 'rope') return [];
  const { rotaryDim, pairs } = positions;
  return Array.from({ length: rotaryDim / 2 }, (_, j) =>
    pairs === 'interleaved' ? [2 * j, 2 * j + 1] : [j, j + rotaryDim / 2],
  );
}

function makeScalesAlike({ data }: DenseTensor, headDim: number, positions: PositionShape): void {
  for (let head = 0; head < data.length; head += headDim) {
    for (const [first, second] of pairsOf(positions)) data[head + second] = data[head + first]!;
  }
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
