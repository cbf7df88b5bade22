import { createMatrix, transpose } from '../matrix.ts';
import { applyReflectors } from './apply-reflectors.ts';
import { divideAndConquer } from './divide-and-conquer/divide-and-conquer.ts';
import { descendingOrder } from './sort-descending.ts';
import type { SymmetricEigen } from './symmetric-eigen.ts';
import { tridiagonaliseSymmetric } from './tridiagonalise-symmetric.ts';

/**
 * The `count` largest eigenvalues of a symmetric n x n matrix scaled to about 1, and their vectors: Householder reduction,
 * divide and conquer, and the blocked back-transformation of the wanted vectors. `lower` holds the lower triangle and is
 * overwritten. Throws KvlrError 'numerical' (no convergence).
 */
export function decomposeSymmetric(lower: Float64Array, n: number, count: number): SymmetricEigen {
  const reduction = tridiagonaliseSymmetric(lower, n);
  const { values, rows } = divideAndConquer(reduction.diagonal, reduction.offDiagonal);
  const order = descendingOrder(values).subarray(0, count);
  const wanted = createMatrix(count, n);
  order.forEach((source, k) => {
    wanted.data.set(rows.data.subarray(source * n, (source + 1) * n), k * n);
  });
  applyReflectors(reduction, wanted);
  return { values: Float64Array.from(order, (index) => values[index]!), vectors: transpose(wanted) };
}
