import type { GroupingRequest, LayerStatistics } from '@kvlr/core';

/** Weights below this share of the largest are raised to it, so that no head is dropped altogether. */
const relativeFloor = 1e-8;

/**
 * How much the queries of each KV head listen to each frequency: w[i, j] = sum over the head's query heads of
 * E|chi_j|^2, chi_j the query's pair (j, j + D/2) as a complex number.
 *
 * @returns [K, D/2], all positive.
 */
export function queryEnergy(
  { heads, headDim, numAttentionHeads }: GroupingRequest,
  { querySecondMoment }: LayerStatistics,
): Float64Array {
  const pairs = headDim / 2;
  const energy = new Float64Array(heads * pairs);
  for (let queryHead = 0; queryHead < numAttentionHeads; queryHead++) {
    const place = Math.floor((queryHead * heads) / numAttentionHeads) * pairs;
    const start = queryHead * headDim * headDim;
    for (let j = 0; j < pairs; j++) {
      energy[place + j]! +=
        querySecondMoment[start + j * (headDim + 1)]! + querySecondMoment[start + (j + pairs) * (headDim + 1)]!;
    }
  }
  const largest = energy.reduce((highest, value) => Math.max(highest, value), 0);
  const floor = largest > 0 ? largest * relativeFloor : 1;
  return energy.map((value) => Math.max(value, floor));
}
