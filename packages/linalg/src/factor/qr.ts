import type { Matrix } from '../matrix.ts';
import { createMatrix } from '../matrix.ts';
import { requireFinite } from '../require.ts';
import { powerOfTwoScale } from '../scaling.ts';
import { factorHouseholder, formThinQ } from './householder.ts';

/** A = Q R. */
export interface QrFactors {
  /** [m, min(m, n)], orthonormal columns, also where A is rank deficient. */
  q: Matrix;
  /** [min(m, n), n], upper triangular (trapezoidal when m < n), diagonal >= 0. */
  r: Matrix;
}

/**
 * Thin QR decomposition of an m x n matrix by Householder reflections (Golub and Van Loan, Matrix Computations, 5.2).
 * Throws KvlrError 'non-finite'.
 */
export function qr(a: Matrix): QrFactors {
  requireFinite(a.data, a.cols);
  const scale = powerOfTwoScale(a.data);
  const factored = factorHouseholder(a, scale, false);
  const size = Math.min(a.rows, a.cols);
  const q = formThinQ(factored, a.rows, size);
  const r = createMatrix(size, a.cols);
  for (let i = 0; i < size; i += 1) {
    const sign = factored.diagonal[i]! < 0 ? -1 : 1;
    r.data[i * a.cols + i] = Math.abs(factored.diagonal[i]!) / scale;
    for (let j = i + 1; j < a.cols; j += 1) {
      r.data[i * a.cols + j] = (sign * factored.columns[j * a.rows + i]!) / scale;
    }
    if (sign < 0) for (let row = 0; row < a.rows; row += 1) q.data[row * size + i]! *= -1;
  }
  return { q, r };
}
