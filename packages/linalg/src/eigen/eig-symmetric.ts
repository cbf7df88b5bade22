import type { Matrix } from '../matrix.ts';
import { requireFinite, requireSquare } from '../require.ts';
import { powerOfTwoScale } from '../scaling.ts';
import { decomposeSymmetric } from './decompose-symmetric.ts';
import { scaledLowerTriangle } from './scaled-lower-triangle.ts';
import type { SymmetricEigen } from './symmetric-eigen.ts';

/**
 * Eigendecomposition A = V diag(values) V^T of a real symmetric matrix: Householder reduction to tridiagonal form, divide
 * and conquer, blocked back-transformation. Errors of the values and of V^T V are a small multiple of n * 2^-52 of the
 * largest magnitude, at any scale of the input. The two triangles are averaged.
 * Throws KvlrError 'invalid-argument' (not square, not symmetric), 'non-finite', 'numerical' (no convergence).
 */
export function eigSymmetric(a: Matrix): SymmetricEigen {
  requireSquare(a);
  requireFinite(a.data, a.cols);
  const scale = powerOfTwoScale(a.data);
  const lower = scaledLowerTriangle(a, scale);
  const { values, vectors } = decomposeSymmetric(lower, a.rows, a.rows);
  return { values: values.map((value) => value / scale), vectors };
}
