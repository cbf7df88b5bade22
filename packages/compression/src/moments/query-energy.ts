import { createMatrix, type Matrix } from '@kvlr/linalg';
import type { SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';
import { requireStatistics } from './require-statistics.ts';

/** Weights below this share of the largest are raised to it, so that no head is dropped altogether. */
const relativeFloor = 1e-8;

/**
 * How much the queries of each KV head listen to each frequency: w[i, j] = sum over the head's query heads of
 * E|chi_j|^2, chi_j the query's pair (j, j + D/2) as a complex number.
 *
 * @returns [t, D/2], all positive.
 */
export function queryEnergy(layer: SourceLayer, heads: readonly number[]): Matrix {
  const { headDim } = layer.shape;
  const half = headDim / 2;
  const { querySecondMoment } = requireStatistics(layer, 'queryEnergy');
  const energy = createMatrix(heads.length, half);
  heads.forEach((head, place) => {
    for (const queryHead of queryHeadsOf(layer.shape, [head])) {
      const start = queryHead * headDim * headDim;
      for (let j = 0; j < half; j++) {
        energy.data[place * half + j]! +=
          querySecondMoment[start + j * (headDim + 1)]! + querySecondMoment[start + (j + half) * (headDim + 1)]!;
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
