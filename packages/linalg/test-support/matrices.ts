import { createNormalRandom } from '@kvlr/core';
import { Matrix as PeerMatrix, QrDecomposition } from 'ml-matrix';
import { expect } from 'vitest';
import type { ComplexMatrix } from '../src/complex-matrix.ts';
import type { Matrix } from '../src/matrix.ts';

export function randomMatrix(rows: number, cols: number, seed: number): Matrix {
  const normal = createNormalRandom(seed);
  return { rows, cols, data: Float64Array.from({ length: rows * cols }, normal) };
}

/** Orthonormal columns, by ml-matrix and not by the code under test. */
export function randomOrthonormal(rows: number, cols: number, seed: number): Matrix {
  return fromPeer(new QrDecomposition(toPeer(randomMatrix(rows, cols, seed))).orthogonalMatrix);
}

/** left diag(values) right^T, by the plain triple loop. */
export function assemble(left: Matrix, values: ArrayLike<number>, right: Matrix): Matrix {
  const data = new Float64Array(left.rows * right.rows);
  for (let i = 0; i < left.rows; i += 1) {
    for (let j = 0; j < right.rows; j += 1) {
      for (let k = 0; k < left.cols; k += 1) {
        data[i * right.rows + j]! += left.data[i * left.cols + k]! * values[k]! * right.data[j * right.cols + k]!;
      }
    }
  }
  return { rows: left.rows, cols: right.rows, data };
}

/** A symmetric matrix with this spectrum and random eigenvectors, exactly symmetric. */
export function symmetricWithSpectrum(values: ArrayLike<number>, seed: number): Matrix {
  const n = values.length;
  const basis = randomOrthonormal(n, n, seed);
  const { data } = assemble(basis, values, basis);
  for (let i = 0; i < n; i += 1) for (let j = 0; j < i; j += 1) data[i * n + j] = data[j * n + i]!;
  return { rows: n, cols: n, data };
}

/** a^T b by the plain triple loop. */
export function plainTransposeProduct(a: Matrix, b: Matrix): Matrix {
  const data = new Float64Array(a.cols * b.cols);
  for (let k = 0; k < a.rows; k += 1) {
    for (let i = 0; i < a.cols; i += 1) {
      for (let j = 0; j < b.cols; j += 1) data[i * b.cols + j]! += a.data[k * a.cols + i]! * b.data[k * b.cols + j]!;
    }
  }
  return { rows: a.cols, cols: b.cols, data };
}

export function scaled(a: Matrix, factor: number): Matrix {
  return { ...a, data: a.data.map((value) => value * factor) };
}

export function largestMagnitude(data: Float64Array): number {
  return data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}

/** Largest |a - b|; NaN wherever one of them is NaN. */
export function largestDifference(a: Float64Array, b: Float64Array): number {
  expect(a.length).toBe(b.length);
  return a.reduce((largest, value, index) => Math.max(largest, Math.abs(value - b[index]!)), 0);
}

/** Largest entry of |V^T V - I|. */
export function orthonormalityError(v: Matrix): number {
  const product = plainTransposeProduct(v, v);
  for (let i = 0; i < v.cols; i += 1) product.data[i * v.cols + i]! -= 1;
  return largestMagnitude(product.data);
}

export function isDescending(values: Float64Array): boolean {
  return values.every((value, index) => index === 0 || value <= values[index - 1]!);
}

export function toPeer(a: Matrix): PeerMatrix {
  return PeerMatrix.from1DArray(a.rows, a.cols, a.data);
}

export function fromPeer(a: PeerMatrix): Matrix {
  return { rows: a.rows, cols: a.columns, data: Float64Array.from(a.to1DArray()) };
}

export function columnNorm(a: Matrix | ComplexMatrix, col: number): number {
  let squared = 0;
  for (let row = 0; row < a.rows; row += 1) {
    const index = row * a.cols + col;
    squared += 'data' in a ? a.data[index]! ** 2 : a.real[index]! ** 2 + a.imag[index]! ** 2;
  }
  return Math.sqrt(squared);
}
