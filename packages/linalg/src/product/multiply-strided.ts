import type { Matrix } from '../matrix.ts';
import { createMatrix } from '../matrix.ts';
import { addProduct, type StridedVectors } from './add-product.ts';

/** All dot products of the left vectors with the right ones, [left.count, right.count]. */
export function multiplyStrided(left: StridedVectors, right: StridedVectors, depth: number): Matrix {
  const result = createMatrix(left.count, right.count);
  addProduct(left, right, depth, result.data, right.count);
  return result;
}
