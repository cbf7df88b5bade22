import type { Matrix } from '../matrix.ts';

/** Eigenvalues in descending order; column k of `vectors` belongs to values[k]. */
export interface SymmetricEigen {
  values: Float64Array;
  /** [n, values.length], orthonormal columns. */
  vectors: Matrix;
}
