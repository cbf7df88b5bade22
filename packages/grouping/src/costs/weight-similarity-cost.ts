import type { GroupingRequest } from '@kvlr/core';
import type { GroupCost } from './group-cost.ts';
import { pairwiseCost } from './pairwise-cost.ts';
import { requireWeights } from './require-request.ts';

/**
 * Heads whose projections look alike share: per pair of heads, 1 - cosine of their rows of W_K plus the same of W_V, 0 to
 * 4. Needs no calibration, but sees neither what the inputs are nor that two heads may hold the same in another basis.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries no weights.
 */
export function weightSimilarityCost(request: GroupingRequest): GroupCost {
  const { key, value } = requireWeights(request, 'weight-similarity');
  const { heads } = request;
  const distances = new Float64Array(heads * heads);
  for (const weight of [key, value]) {
    const products = headProducts(weight, heads);
    for (let row = 0; row < heads; row++) {
      for (let column = 0; column < heads; column++) {
        const norm = Math.sqrt(products[row * (heads + 1)]! * products[column * (heads + 1)]!);
        distances[row * heads + column]! += norm > 0 ? 1 - products[row * heads + column]! / norm : 1;
      }
    }
  }
  return pairwiseCost(distances, heads);
}

/** Sums of products of all entries of two heads' rows, [K, K]. */
function headProducts(weight: Float64Array, heads: number): Float64Array {
  const size = weight.length / heads;
  const products = new Float64Array(heads * heads);
  for (let row = 0; row < heads; row++) {
    for (let column = 0; column <= row; column++) {
      let sum = 0;
      for (let index = 0; index < size; index++) sum += weight[row * size + index]! * weight[column * size + index]!;
      products[row * heads + column] = sum;
      products[column * heads + row] = sum;
    }
  }
  return products;
}
