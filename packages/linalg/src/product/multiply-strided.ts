import { createMatrix } from '../matrix/create-matrix.ts';
import type { Matrix } from '../matrix/matrix.ts';
import { addProduct, type StridedVectors } from './add-product.ts';

/** All dot products of the left vectors with the right ones, [left.count, right.count]. */
export function multiplyStrided(left: StridedVectors, right: StridedVectors, depth: number): Matrix {
  const result = createMatrix(left.count, right.count);
  addProduct(left, right, depth, result.data, right.count);
  return result;
}
