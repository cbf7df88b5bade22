import type { GroupCost } from '@kvlr/core';
import {
  createMatrix,
  eigSymmetric,
  frobeniusSquared,
  type Matrix,
  multiply,
  multiplyTransposed,
  selectTiles,
  transpose,
} from '@kvlr/linalg';
import { type LayerData, requireWeights } from '../source-layer.ts';

/**
 * Heads whose projections look alike share: per pair of heads, 1 - cosine of their rows of W_K plus the same of W_V, 0 to
 * 4. Needs no calibration, but sees neither what the inputs are nor that two heads may hold the same in another basis.
 *
 * @throws KvlrError 'invalid-argument' when the layer carries no weights.
 */
export function weightSimilarity(layer: LayerData): GroupCost {
  const { numKeyValueHeads } = layer.shape;
  const { key, value } = requireWeights(layer);
  const distances = new Float64Array(numKeyValueHeads * numKeyValueHeads);
  for (const weight of [key, value]) {
    const rows = createMatrix(numKeyValueHeads, weight.length / numKeyValueHeads, weight);
    const { data: products } = multiplyTransposed(rows, rows);
    for (let row = 0; row < numKeyValueHeads; row++) {
      for (let column = 0; column < numKeyValueHeads; column++) {
        const place = row * numKeyValueHeads + column;
        const norm = Math.sqrt(products[row * (numKeyValueHeads + 1)]! * products[column * (numKeyValueHeads + 1)]!);
        distances[place]! += norm > 0 ? 1 - products[place]! / norm : 1;
      }
    }
  }
  return pairwiseCost(distances, numKeyValueHeads);
}

/** The leading directions of a head that together hold this share of its energy span its subspace. */
const keptEnergy = 0.95;

/**
 * Heads whose keys and values live in the same subspaces share: per pair of heads, the mean squared sine of the principal
 * angles between the leading subspaces of their keys plus the same of their values, 0 to 2. The subspaces lie in the
 * space of inputs (Björck and Golub 1973); with statistics, as the inputs of the calibration text fill it: the cosines
 * are then the canonical correlations of the two heads' signals. Without statistics the inputs count as white. Unlike
 * weight similarity this does not depend on the basis that a head writes its keys or values in.
 *
 * @throws KvlrError 'invalid-argument' when the layer carries neither statistics nor weights.
 */
export function subspaceAffinity(layer: LayerData): GroupCost {
  const { numKeyValueHeads, headDim } = layer.shape;
  const { statistics } = layer;
  const moments = statistics
    ? [statistics.keySecondMoment, statistics.valueSecondMoment]
    : [whiteMoment(layer, 'key'), whiteMoment(layer, 'value')];
  const distances = new Float64Array(numKeyValueHeads * numKeyValueHeads);
  for (const moment of moments) {
    const whitenings = Array.from({ length: numKeyValueHeads }, (_, head) =>
      whitening(selectTiles(moment, headDim, [head])),
    );
    for (let row = 0; row < numKeyValueHeads; row++) {
      for (let column = 0; column < row; column++) {
        const cross = selectTiles(moment, headDim, [row], [column]);
        const cosines = multiply(multiply(transpose(whitenings[row]!), cross), whitenings[column]!);
        const angles = Math.min(cosines.rows, cosines.cols);
        const distance = angles > 0 ? Math.max(0, 1 - frobeniusSquared(cosines) / angles) : 1;
        distances[row * numKeyValueHeads + column]! += distance;
        distances[column * numKeyValueHeads + row]! += distance;
      }
    }
  }
  return pairwiseCost(distances, numKeyValueHeads);
}

function whiteMoment(layer: LayerData, side: 'key' | 'value'): Float64Array {
  const weight = requireWeights(layer)[side];
  const width = layer.shape.numKeyValueHeads * layer.shape.headDim;
  const rows = createMatrix(width, weight.length / width, weight);
  return multiplyTransposed(rows, rows).data;
}

/** Columns that take a head's signal into the uncorrelated, unit-energy coordinates of its leading subspace, [D, r]. */
function whitening(moment: Matrix): Matrix {
  const { values, vectors } = eigSymmetric(moment);
  const energy = values.reduce((sum, value) => sum + Math.max(0, value), 0);
  let rank = 0;
  for (let kept = 0; rank < values.length && kept < keptEnergy * energy; rank++) kept += values[rank]!;
  const columns = createMatrix(moment.rows, rank);
  for (let row = 0; row < moment.rows; row++) {
    for (let column = 0; column < rank; column++) {
      columns.data[row * rank + column] = vectors.data[row * vectors.cols + column]! / Math.sqrt(values[column]!);
    }
  }
  return columns;
}

/**
 * Cost of a group as the mean over its pairs of heads times the number of heads that go, t - 1, so that it weighs the
 * same at every group size.
 *
 * @param distances [K, K], symmetric.
 */
function pairwiseCost(distances: Float64Array, numKeyValueHeads: number): GroupCost {
  return (group) => {
    let sum = 0;
    for (let right = 1; right < group.length; right++) {
      for (let left = 0; left < right; left++) sum += distances[group[left]! * numKeyValueHeads + group[right]!]!;
    }
    return (2 * sum) / group.length;
  };
}
