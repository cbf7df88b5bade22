import { KvlrError } from '@kvlr/core';
import { eigSymmetric } from '../eigen/eig-symmetric.ts';
import type { Matrix } from '../matrix.ts';
import { createMatrix } from '../matrix.ts';
import { multiplyTransposed } from '../product/multiply-transposed.ts';

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
