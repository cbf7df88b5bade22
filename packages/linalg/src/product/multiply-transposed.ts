import type { Matrix } from '../matrix.ts';
import { requireEqualSizes } from '../require.ts';
import { multiplyStrided } from './multiply-strided.ts';

/** The product a b^T, [a.rows, b.rows]. Throws KvlrError 'invalid-argument' unless both have as many columns. */
export function multiplyTransposed(a: Matrix, b: Matrix): Matrix {
  requireEqualSizes('as many columns on both sides', a.cols, a, b, b.cols);
  return multiplyStrided(
    { data: a.data, count: a.rows, vectorStride: a.cols, entryStride: 1 },
    { data: b.data, count: b.rows, vectorStride: b.cols, entryStride: 1 },
    a.cols,
  );
}
