import type { ComplexMatrix } from './matrix.ts';
import { requireCount } from './require.ts';

/** A rows x cols complex matrix of zeros. Throws KvlrError 'invalid-argument' when the sizes are not whole numbers. */
export function createComplexMatrix(rows: number, cols: number): ComplexMatrix {
  requireCount('createComplexMatrix', 'rows', rows);
  requireCount('createComplexMatrix', 'cols', cols);
  return { rows, cols, real: new Float64Array(rows * cols), imag: new Float64Array(rows * cols) };
}
