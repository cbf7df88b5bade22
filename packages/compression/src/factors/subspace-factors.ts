import { createMatrix, eigSymmetric, type Matrix, multiply, transpose } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import { metricRoots } from './metric-roots.ts';
import { splitRows } from './split-rows.ts';

/**
 * The factors of rank r that lose least: A and B minimise E|u - B A u|^2 in the metric M. With U the top r eigenvectors
 * of M^(1/2) C M^(1/2): A = U^T M^(1/2), B = M^(-1/2) U. Eckart and Young; for M = I the paper's SVD
 * (arXiv 2406.07056, section 3).
 *
 * @param moment C = E[u u^T] of the heads side by side, [t*D, t*D].
 * @param rank r, at most t*D.
 * @param metric M as one [D, D] block per head; the identity when left out.
 */
export function subspaceFactors(
  moment: Matrix,
  headDim: number,
  rank: number,
  metric?: readonly Matrix[],
): GroupFactors {
  const roots = metric === undefined ? undefined : metricRoots(metric);
  const weighed = roots === undefined ? moment : multiply(multiply(roots.root, moment), roots.root);
  const directions = leadingDirections(weighed, rank);
  const encoder = transpose(directions);
  return {
    encoder: roots === undefined ? encoder : multiply(encoder, roots.root),
    decoders: splitRows(roots === undefined ? directions : multiply(roots.inverseRoot, directions), headDim),
  };
}

/** Top eigenvectors as columns, each with its largest entry positive, so that files are reproducible. */
function leadingDirections(symmetric: Matrix, rank: number): Matrix {
  const { vectors } = eigSymmetric(symmetric);
  const directions = createMatrix(vectors.rows, rank);
  for (let column = 0; column < rank; column++) {
    let largest = 0;
    for (let row = 0; row < vectors.rows; row++) {
      const value = vectors.data[row * vectors.cols + column]!;
      if (Math.abs(value) > Math.abs(largest)) largest = value;
    }
    const sign = largest < 0 ? -1 : 1;
    for (let row = 0; row < vectors.rows; row++) {
      directions.data[row * rank + column] = sign * vectors.data[row * vectors.cols + column]!;
    }
  }
  return directions;
}
