import type { Matrix } from '../matrix.ts';
import { transpose } from '../matrix.ts';
import { multiply } from '../product/multiply.ts';
import { multiplyTransposed } from '../product/multiply-transposed.ts';
import { requireEqualSizes } from '../require.ts';
import { svd } from './svd.ts';

/**
 * The orthogonal Q that minimises ||a Q - b|| in the Frobenius norm: Q = U V^T from a^T b = U S V^T (Schoenemann,
 * Psychometrika 31, 1966). `a` and `b` are [m, n], Q is [n, n]; reflections are allowed.
 * Throws KvlrError 'invalid-argument' when the shapes differ, 'non-finite'.
 */
export function procrustes(a: Matrix, b: Matrix): Matrix {
  requireEqualSizes('as many rows on both sides', a.rows, a, b, b.rows);
  requireEqualSizes('as many columns on both sides', a.cols, a, b, b.cols);
  const { u, v } = svd(multiply(transpose(a), b));
  return multiplyTransposed(u, v);
}
