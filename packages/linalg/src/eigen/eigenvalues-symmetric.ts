import type { Matrix } from '../matrix.ts';
import { requireFinite, requireSquare } from '../require.ts';
import { powerOfTwoScale } from '../scaling.ts';
import { scaledLowerTriangle } from './scaled-lower-triangle.ts';
import { tridiagonalQl } from './tridiagonal-ql.ts';
import { tridiagonaliseSymmetric } from './tridiagonalise-symmetric.ts';

/**
 * The eigenvalues of a real symmetric matrix in descending order, without their vectors: about a third of the time of
 * `eigSymmetric`, to the same accuracy. The two triangles are averaged.
 * Throws KvlrError 'invalid-argument' (not square, not symmetric), 'non-finite', 'numerical' (no convergence).
 */
export function eigenvaluesSymmetric(a: Matrix): Float64Array {
  requireSquare(a);
  requireFinite(a.data, a.cols);
  const scale = powerOfTwoScale(a.data);
  const { diagonal, offDiagonal } = tridiagonaliseSymmetric(scaledLowerTriangle(a, scale), a.rows);
  tridiagonalQl(diagonal, offDiagonal, []);
  return diagonal
    .map((value) => value / scale)
    .sort()
    .reverse();
}
