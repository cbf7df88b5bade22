import { KvlrError } from '@kvlr/core';
import { powerOfTwoScale, requireFinite, requireSquare } from '../input.ts';
import { createMatrix, type Matrix, transpose } from '../matrix.ts';
import { multiplyTransposed } from '../product/multiply.ts';
import { descendingOrder } from './column-order.ts';
import { divideAndConquer } from './divide-and-conquer.ts';
import { applyReflectors, tridiagonaliseSymmetric } from './householder.ts';
import { tridiagonalQl } from './tridiagonal-ql.ts';

/** Eigenvalues in descending order; column k of `vectors` belongs to values[k]. */
export interface SymmetricEigen {
  values: Float64Array;
  /** [n, values.length], orthonormal columns. */
  vectors: Matrix;
}

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

/**
 * The eigenvalues of a real symmetric matrix in descending order, without their vectors: about a third of the time of
 * `eigSymmetric`, to the same accuracy. The two triangles are averaged.
 * Throws KvlrError 'invalid-argument' (not square, not symmetric), 'non-finite', 'numerical' (no convergence).
 */
export function eigenvaluesSymmetric(a: Matrix): Float64Array {
  requireSquare(a);
  requireFinite(a.data, a.cols);
  const scale = powerOfTwoScale(a.data);
  const { diagonal, offDiagonal } = tridiagonaliseSymmetric(scaledLowerTriangle(a, scale), a.rows);
  tridiagonalQl(diagonal, offDiagonal, []);
  return diagonal
    .map((value) => value / scale)
    .sort()
    .reverse();
}

export interface SymmetricPowerSettings {
  /** Eigenvalues below this share of the largest are raised to it, 0..1. */
  relativeFloor?: number;
}

/**
 * A^exponent of a symmetric positive semidefinite matrix from its eigenvalues, so A^(1/2) and A^(-1/2) are inverses of each
 * other also where A has (nearly) lost rank: all powers see the same floored spectrum.
 * Throws KvlrError 'invalid-argument', 'non-finite', 'numerical' (a negative power of a matrix without a positive
 * eigenvalue).
 */
export function symmetricPower(a: Matrix, exponent: number, settings: SymmetricPowerSettings = {}): Matrix {
  const { relativeFloor = 1e-8 } = settings;
  if (!Number.isFinite(exponent) || !(relativeFloor >= 0 && relativeFloor <= 1)) {
    throw new KvlrError('invalid-argument', {
      message: `expected a finite exponent and a relativeFloor from 0 to 1, got ${exponent} and ${relativeFloor}`,
      data: { exponent, relativeFloor },
    });
  }
  const { values, vectors } = eigSymmetric(a);
  const n = values.length;
  const floor = Math.max(0, (values[0] ?? 0) * relativeFloor);
  const scaled = createMatrix(n, n);
  for (let col = 0; col < n; col += 1) {
    const value = Math.max(values[col]!, floor);
    if (value === 0 && exponent < 0) {
      throw new KvlrError('numerical', {
        message: `expected positive eigenvalues for the exponent ${exponent}, got ${values[col]}`,
        hint: 'Set a relativeFloor above 0, or check that the matrix is not all zeros.',
        data: { exponent, eigenvalue: values[col] },
      });
    }
    const power = value ** exponent;
    for (let row = 0; row < n; row += 1) scaled.data[row * n + col] = vectors.data[row * n + col]! * power;
  }
  return multiplyTransposed(scaled, vectors);
}

/**
 * The `count` largest eigenvalues of a symmetric n x n matrix scaled to about 1, and their vectors: Householder reduction,
 * divide and conquer, and the blocked back-transformation of the wanted vectors. `lower` holds the lower triangle and is
 * overwritten. Throws KvlrError 'numerical' (no convergence).
 */
export function decomposeSymmetric(lower: Float64Array, n: number, count: number): SymmetricEigen {
  const reduction = tridiagonaliseSymmetric(lower, n);
  const { values, rows } = divideAndConquer(reduction.diagonal, reduction.offDiagonal);
  const order = descendingOrder(values).subarray(0, count);
  const wanted = createMatrix(count, n);
  order.forEach((source, k) => {
    wanted.data.set(rows.data.subarray(source * n, (source + 1) * n), k * n);
  });
  applyReflectors(reduction, wanted);
  return { values: Float64Array.from(order, (index) => values[index]!), vectors: transpose(wanted) };
}

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
