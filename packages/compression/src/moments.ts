import { everyHead, keyValueHeadOf, queryHeadsOf } from '@kvlr/core';
import {
  addTo,
  createMatrix,
  innerProduct,
  type Matrix,
  multiply,
  multiplyTransposed,
  rows,
  selectBlock,
  selectTiles,
  transpose,
  vstack,
} from '@kvlr/linalg';
import { headRows, outputColumns } from './heads.ts';
import { withoutNorms } from './norms.ts';
import { type LayerData, requireStatistics, type SourceLayer } from './source-layer.ts';

/**
 * Where the second moment of keys or values is taken.
 * 'activations': E[u u^T] over calibration text. 'weights': W W^T, as if the input were white.
 * 'centred': less the product of the means. For keys these are means over positions after RoPE: what is constant there adds
 * the same to all of a query's scores, which softmax ignores, and the products of one frequency across heads do not change
 * under RoPE.
 */
export type MomentSource = 'activations' | 'weights' | 'centred';

/** For values also 'received': E[r v v^T], tokens counted by the attention r that they get. */
export type ValueMomentSource = MomentSource | 'received';

/**
 * Second moment of some heads' keys, [t*D, t*D]. Its complex products per frequency hold before RoPE and after it.
 *
 * @param coordinates Of each head, in this order. Default: all.
 */
export function keyMoment(
  layer: SourceLayer,
  heads: readonly number[],
  source: MomentSource,
  coordinates?: readonly number[],
): Matrix {
  const whole = momentOfKeys(layer, heads, source);
  const { headDim } = layer.shape;
  if (coordinates === undefined || isWhole(coordinates, headDim)) return whole;
  const places = heads.flatMap((_, place) => coordinates.map((coordinate) => place * headDim + coordinate));
  return selectBlock(whole, places, places);
}

function momentOfKeys(layer: SourceLayer, heads: readonly number[], source: MomentSource): Matrix {
  const { headDim, attention } = layer.shape;
  if (source === 'weights') return momentOfWeights(layer, 'key', heads);
  const { rotatedKeySecondMoment, rotatedKeyMean, keySecondMoment } = requireStatistics(layer);
  // Capped scores feel what is the same for all keys.
  return source === 'centred' && attention.softCap === undefined
    ? centredMoment(rotatedKeySecondMoment, rotatedKeyMean, heads, headDim)
    : selectTiles(keySecondMoment, headDim, heads);
}

function isWhole(coordinates: readonly number[], headDim: number): boolean {
  return coordinates.length === headDim && coordinates.every((coordinate, index) => coordinate === index);
}

/** Second moment of some heads' values, [t*D, t*D]. */
export function valueMoment(layer: SourceLayer, heads: readonly number[], source: ValueMomentSource): Matrix {
  const { headDim } = layer.shape;
  if (source === 'weights') return momentOfWeights(layer, 'value', heads);
  const { valueSecondMoment, valueMean, receivedValueSecondMoment } = requireStatistics(layer);
  if (source === 'received') return selectTiles(receivedValueSecondMoment, headDim, heads);
  return source === 'centred'
    ? centredMoment(valueSecondMoment, valueMean, heads, headDim)
    : selectTiles(valueSecondMoment, headDim, heads);
}

function momentOfWeights(layer: SourceLayer, side: 'key' | 'value', heads: readonly number[]): Matrix {
  const { headDim, hiddenSize, attention } = layer.shape;
  const weights = side === 'key' && attention.queryKeyNorm ? withoutNorms(layer) : layer.weights;
  const projection = headRows(weights[side], heads, headDim, hiddenSize);
  return multiplyTransposed(projection, projection);
}

/** Covariance E[u u^T] - E[u] E[u]^T of some heads, [t*D, t*D]. */
export function centredMoment(
  secondMoment: Float64Array,
  mean: Float64Array,
  heads: readonly number[],
  headDim: number,
): Matrix {
  const block = selectTiles(secondMoment, headDim, heads);
  const means = headRows(mean, heads, headDim, 1);
  addTo(block, multiplyTransposed(means, means), -1);
  return block;
}

/**
 * Metric in which an error of the keys counts as the logits see it: for each KV head the sum over its query heads of
 * E[q q^T]. One [D, D] block per head.
 *
 * @param stage Queries after RoPE ('rotated') or before it ('projected').
 * @param weightOf Weight of a query head in the sum. Default 1.
 * @param coordinates Of a head, in this order. Default: all.
 */
export function queryMetric(
  layer: LayerData,
  heads: readonly number[],
  stage: 'rotated' | 'projected',
  weightOf: (queryHead: number) => number = () => 1,
  coordinates?: readonly number[],
): Matrix[] {
  const { headDim, numAttentionHeads } = layer.shape;
  const { rotatedQuerySecondMoment, querySecondMoment } = requireStatistics(layer);
  const moments = stage === 'rotated' ? rotatedQuerySecondMoment : querySecondMoment;
  const all = createMatrix(numAttentionHeads * headDim, headDim, moments);
  return heads.map((head) => {
    const block = createMatrix(headDim, headDim);
    for (const queryHead of queryHeadsOf(layer.shape, [head])) {
      addTo(block, rows(all, queryHead * headDim, headDim), weightOf(queryHead));
    }
    return coordinates === undefined || isWhole(coordinates, headDim)
      ? block
      : selectBlock(block, coordinates, coordinates);
  });
}

/**
 * Metric in which an error of the values counts as the output projection sees it: for each KV head the sum over its
 * query heads of W_O,h^T W_O,h. One [D, D] block per head.
 */
export function outputMetric(layer: LayerData, heads: readonly number[]): Matrix[] {
  return heads.map((head) => outputGram(layer, queryHeadsOf(layer.shape, [head])));
}

/** Sum of W_O,h^T W_O,h over some query heads, [D, D]. */
function outputGram(layer: LayerData, queryHeads: readonly number[]): Matrix {
  const read = vstack(...queryHeads.map((queryHead) => outputColumns(layer, [queryHead])));
  return multiply(transpose(read), read);
}

/**
 * How much an error in the scores of a query head moves the output of the block: a wrong score puts weight on other values,
 * which differ from one another by tr(W_O,h Cov(v) W_O,h^T). Values that are all alike make scores irrelevant.
 */
export function scoreWeight(layer: LayerData, queryHead: number): number {
  const { valueSecondMoment, valueMean } = requireStatistics(layer);
  const head = keyValueHeadOf(layer.shape, queryHead);
  const covariance = centredMoment(valueSecondMoment, valueMean, [head], layer.shape.headDim);
  return Math.max(0, innerProduct(outputGram(layer, [queryHead]), covariance));
}

/** Weights below this share of the largest are raised to it, so that no head is dropped altogether. */
const relativeFloor = 1e-8;

/**
 * How much the queries of each KV head listen to each frequency: w[i, j] = sum over the head's query heads of
 * E|chi_j|^2, chi_j the query's pair j as a complex number.
 *
 * @param coordinates The n of a head that rotate: j and j + n/2 of them are pair j. Default: all.
 * @returns [t, n/2], all positive.
 */
export function queryEnergy(
  layer: LayerData,
  heads: readonly number[],
  coordinates: readonly number[] = everyHead(layer.shape.headDim),
): Matrix {
  const { headDim } = layer.shape;
  const half = coordinates.length / 2;
  const { querySecondMoment } = requireStatistics(layer);
  const energy = createMatrix(heads.length, half);
  heads.forEach((head, place) => {
    for (const queryHead of queryHeadsOf(layer.shape, [head])) {
      const start = queryHead * headDim * headDim;
      for (let j = 0; j < half; j++) {
        energy.data[place * half + j]! +=
          querySecondMoment[start + coordinates[j]! * (headDim + 1)]! +
          querySecondMoment[start + coordinates[j + half]! * (headDim + 1)]!;
      }
    }
  });
  const largest = energy.data.reduce((highest, value) => Math.max(highest, value), 0);
  const floor = largest > 0 ? largest * relativeFloor : 1;
  energy.data.forEach((value, index) => {
    energy.data[index] = Math.max(value, floor);
  });
  return energy;
}
