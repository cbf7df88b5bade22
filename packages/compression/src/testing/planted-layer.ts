import {
  type AttentionWeights,
  createNormalRandom,
  createRandom,
  everyHead,
  type GroupingRequest,
  type LayerStatistics,
} from '@kvlr/core';
import { SecondMoment } from '@kvlr/linalg';
import type { LayerData } from '../source-layer.ts';

/** A layer with statistics and weights. */
export interface FullLayer extends LayerData {
  statistics: LayerStatistics;
  weights: AttentionWeights;
}

/** What a grouping strategy is told about a layer. */
export function requestOf({ shape, ...layer }: FullLayer, wanted: number): GroupingRequest & FullLayer {
  return { ...shape, ...layer, shape, wanted, cost: undefined };
}

export interface PlantedSettings {
  numHeads: number;
  groups: number;
  headDim: number;
  /** Standard deviation of each head's own noise; the shared signal has 1. */
  noise: number;
  seed: number;
  hiddenSize?: number;
}

export interface PlantedLayer {
  layer: FullLayer;
  /** The groups whose heads carry the same signal, heads ascending, groups by their first heads. */
  planted: number[][];
}

/**
 * A layer whose heads fall into families, scattered over the head indices. The values of a family are linear images of one
 * signal, its keys complex multiples per frequency of one signal, so without noise a family merges without loss.
 */
export function plantedLayer(settings: PlantedSettings): PlantedLayer {
  const { numHeads, groups, headDim, noise, seed, hiddenSize = 8 } = settings;
  const normal = createNormalRandom(seed);
  const random = createRandom(seed);
  const places = everyHead(numHeads).map(() => random());
  const order = everyHead(numHeads).sort((left, right) => places[left]! - places[right]!);
  const familyOf = everyHead(numHeads).map((head) => order[head]! % groups);
  const gaussians = (length: number) => Float64Array.from({ length }, normal);
  const mixers = familyOf.map(() => gaussians(headDim * headDim));
  const factors = familyOf.map(() => gaussians(headDim));
  const pairs = headDim / 2;
  const keys = new SecondMoment(numHeads * headDim);
  const values = new SecondMoment(numHeads * headDim);
  const tokens = 6 * headDim;
  for (let token = 0; token < tokens; token++) {
    const valueSignals = Array.from({ length: groups }, () => gaussians(headDim));
    const keySignals = Array.from({ length: groups }, () => gaussians(headDim));
    const value = gaussians(numHeads * headDim).map((own) => noise * own);
    const key = gaussians(numHeads * headDim).map((own) => noise * own);
    familyOf.forEach((family, head) => {
      for (let row = 0; row < headDim; row++) {
        for (let column = 0; column < headDim; column++) {
          value[head * headDim + row]! += mixers[head]![row * headDim + column]! * valueSignals[family]![column]!;
        }
      }
      for (let j = 0; j < pairs; j++) {
        const [a, b] = [factors[head]![j]!, factors[head]![j + pairs]!];
        const [x, y] = [keySignals[family]![j]!, keySignals[family]![j + pairs]!];
        key[head * headDim + j]! += a * x - b * y;
        key[head * headDim + j + pairs]! += a * y + b * x;
      }
    });
    keys.add(key, 1);
    values.add(value, 1);
  }
  const queries = everyHead(numHeads).map(() => {
    const moment = new SecondMoment(headDim);
    moment.add(gaussians(4 * headDim * headDim), 4 * headDim);
    return [...moment.secondMoment()];
  });
  const width = numHeads * headDim;
  const none = new Float64Array(0);
  const statistics: LayerStatistics = {
    layer: 0,
    tokenCount: tokens,
    inputSecondMoment: none,
    inputMean: none,
    keySecondMoment: keys.secondMoment(),
    keyMean: keys.mean(),
    rotatedKeySecondMoment: none,
    rotatedKeyMean: none,
    valueSecondMoment: values.secondMoment(),
    valueMean: values.mean(),
    receivedValueSecondMoment: values.secondMoment(),
    querySecondMoment: Float64Array.from(queries.flat()),
    rotatedQuerySecondMoment: none,
    attendedSecondMoment: none,
    attendedMean: none,
  };
  const weights = {
    query: gaussians(width * hiddenSize),
    key: gaussians(width * hiddenSize),
    value: gaussians(width * hiddenSize),
    output: gaussians(hiddenSize * width),
  };
  const planted = Array.from({ length: groups }, (_, family) =>
    familyOf.flatMap((other, head) => (other === family ? [head] : [])),
  ).sort((left, right) => left[0]! - right[0]!);
  const shape = { numKeyValueHeads: numHeads, numAttentionHeads: numHeads, headDim };
  return { layer: { shape, layer: 0, statistics, weights }, planted };
}
