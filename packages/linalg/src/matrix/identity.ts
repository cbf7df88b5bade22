import { createMatrix } from './create-matrix.ts';
import type { Matrix } from './matrix.ts';

/** The n x n identity. */
export function identity(n: number): Matrix {
  const result = createMatrix(n, n);
  for (let i = 0; i < n; i += 1) result.data[i * n + i] = 1;
  return result;
}
