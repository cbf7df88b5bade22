import type { GroupingRequest } from '@kvlr/core';
import {
  createMatrix,
  eigSymmetric,
  type Matrix,
  multiply,
  multiplyTransposed,
  selectTiles,
  transpose,
} from '@kvlr/linalg';
import type { GroupCost } from './group-cost.ts';
import { pairwiseCost } from './pairwise-cost.ts';
import { requireWeights } from './require-request.ts';

/** The leading directions of a head that together hold this share of its energy span its subspace. */
const keptEnergy = 0.95;

/**
 * Heads whose keys and values live in the same subspaces share: per pair of heads, the mean squared sine of the principal
 * angles between the leading subspaces of their keys plus the same of their values, 0 to 2. The subspaces lie in the
 * space of inputs (Björck and Golub 1973); with statistics, as the inputs of the calibration text fill it: the cosines
 * are then the canonical correlations of the two heads' signals. Without statistics the inputs count as white. Unlike
 * weight similarity this does not depend on the basis that a head writes its keys or values in.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries neither statistics nor weights.
 */
export function subspaceAffinityCost(request: GroupingRequest): GroupCost {
  const { heads, headDim, statistics } = request;
  const moments = statistics
    ? [statistics.keySecondMoment, statistics.valueSecondMoment]
    : [whiteMoment(request, 'key'), whiteMoment(request, 'value')];
  const distances = new Float64Array(heads * heads);
  for (const moment of moments) {
    const whitenings = Array.from({ length: heads }, (_, head) => whitening(selectTiles(moment, headDim, [head])));
    for (let row = 0; row < heads; row++) {
      for (let column = 0; column < row; column++) {
        const cosines = multiply(
          multiply(transpose(whitenings[row]!), selectTiles(moment, headDim, [row], [column])),
          whitenings[column]!,
        );
        const angles = Math.min(cosines.rows, cosines.cols);
        const affinity = cosines.data.reduce((sum, cosine) => sum + cosine * cosine, 0);
        const distance = angles > 0 ? Math.max(0, 1 - affinity / angles) : 1;
        distances[row * heads + column]! += distance;
        distances[column * heads + row]! += distance;
      }
    }
  }
  return pairwiseCost(distances, heads);
}

function whiteMoment(request: GroupingRequest, side: 'key' | 'value'): Float64Array {
  const weight = requireWeights(request, 'subspace-affinity')[side];
  const width = request.heads * request.headDim;
  const rows = createMatrix(width, weight.length / width, weight);
  return multiplyTransposed(rows, rows).data;
}

/** Columns that turn a head's signal into the uncorrelated, unit-energy coordinates of its leading subspace, [D, r]. */
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
