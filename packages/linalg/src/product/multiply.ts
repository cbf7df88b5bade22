import type { Matrix } from '../matrix.ts';
import { requireEqualSizes } from '../require.ts';
import { multiplyStrided } from './multiply-strided.ts';

/** The product a b, [a.rows, b.cols]. Throws KvlrError 'invalid-argument' unless a.cols = b.rows. */
export function multiply(a: Matrix, b: Matrix): Matrix {
  requireEqualSizes('as many columns on the left as rows on the right', a.cols, a, b, b.rows);
  return multiplyStrided(
    { data: a.data, count: a.rows, vectorStride: a.cols, entryStride: 1 },
    { data: b.data, count: b.cols, vectorStride: 1, entryStride: b.cols },
    a.cols,
  );
}
