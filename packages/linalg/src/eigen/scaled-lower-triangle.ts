import { KvlrError } from '@kvlr/core';
import type { Matrix } from '../matrix.ts';

/** Relative difference between the triangles that is taken for rounding. */
export const symmetryTolerance = 1e-6;

/**
 * The lower triangle of scale * (A + A^T) / 2, zeros above it; `scale` brings the largest entry near 1.
 * Throws KvlrError 'invalid-argument' (not symmetric).
 */
export function scaledLowerTriangle(a: Matrix, scale: number): Float64Array {
  const n = a.rows;
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      const left = a.data[i * n + j]! * scale;
      const right = a.data[j * n + i]! * scale;
      if (Math.abs(left - right) > symmetryTolerance) {
        throw new KvlrError('invalid-argument', {
          message: `expected a symmetric matrix, got ${a.data[i * n + j]} at (${i}, ${j}) and ${a.data[j * n + i]} at (${j}, ${i})`,
          hint: 'Use svd for a general matrix, or average the matrix with its transpose.',
          data: { row: i, column: j },
        });
      }
      lower[i * n + j] = 0.5 * (left + right);
    }
  }
  return lower;
}
