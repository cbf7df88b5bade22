import { KvlrError } from '@kvlr/core';
import type { ComplexMatrix } from '../complex-matrix.ts';
import { createComplexMatrix } from '../complex-matrix.ts';
import { requireFinite, requireSquare } from '../require.ts';
import { powerOfTwoScale } from '../scaling.ts';
import { symmetryTolerance } from './scaled-lower-triangle.ts';
import { descendingOrder, permuteColumns } from './sort-descending.ts';
import { tridiagonalQl } from './tridiagonal-ql.ts';
import { tridiagonaliseHermitian } from './tridiagonalise-hermitian.ts';

/** Real eigenvalues in descending order; column k of `vectors` belongs to values[k]. */
export interface HermitianEigen {
  values: Float64Array;
  /** [n, n], columns orthonormal in the complex inner product. */
  vectors: ComplexMatrix;
}

/**
 * Eigendecomposition A = V diag(values) V^H of a complex Hermitian matrix: unitary Householder reduction to real
 * tridiagonal form, then implicit QL. The vectors are orthonormal in C also where eigenvalues coincide. A and its
 * conjugate transpose are averaged.
 * Throws KvlrError 'invalid-argument' (not square, not Hermitian), 'non-finite', 'numerical' (no convergence).
 */
export function eigHermitian(a: ComplexMatrix): HermitianEigen {
  requireSquare(a);
  requireFinite(a.real, a.cols);
  requireFinite(a.imag, a.cols);
  const n = a.rows;
  const scale = powerOfTwoScale(a.real, a.imag);
  const { diagonal, offDiagonal, q } = tridiagonaliseHermitian(scaledHermitian(a, scale));
  tridiagonalQl(diagonal, offDiagonal, [q.real, q.imag]);
  const order = descendingOrder(diagonal);
  return {
    values: Float64Array.from(order, (index) => diagonal[index]! / scale),
    vectors: {
      rows: n,
      cols: n,
      real: permuteColumns(q.real, n, order),
      imag: permuteColumns(q.imag, n, order),
    },
  };
}

function scaledHermitian(a: ComplexMatrix, scale: number): ComplexMatrix {
  const n = a.rows;
  const result = createComplexMatrix(n, n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      const lower = i * n + j;
      const upper = j * n + i;
      const realGap = Math.abs(a.real[lower]! - a.real[upper]!) * scale;
      const imagGap = Math.abs(a.imag[lower]! + a.imag[upper]!) * scale;
      if (realGap > symmetryTolerance || imagGap > symmetryTolerance) {
        throw new KvlrError('invalid-argument', {
          message: `expected a Hermitian matrix, got ${a.real[lower]} + ${a.imag[lower]}i at (${i}, ${j}) and ${a.real[upper]} + ${a.imag[upper]}i at (${j}, ${i})`,
          hint: 'Average the matrix with its conjugate transpose if the difference is meant to be zero.',
          data: { row: i, column: j },
        });
      }
      const real = 0.5 * (a.real[lower]! * scale + a.real[upper]! * scale);
      const imag = 0.5 * (a.imag[lower]! * scale - a.imag[upper]! * scale);
      result.real[lower] = real;
      result.real[upper] = real;
      result.imag[lower] = imag;
      result.imag[upper] = -imag;
    }
  }
  return result;
}
