import { requireCount, requireEqualLength, requireSquare } from './input.ts';
import type { Matrix } from './matrix.ts';

/** A dense complex matrix in Float64, row-major, real and imaginary parts in two arrays of rows * cols numbers. */
export interface ComplexMatrix {
  readonly rows: number;
  readonly cols: number;
  readonly real: Float64Array;
  readonly imag: Float64Array;
}

/** Complex numbers in a row, real and imaginary parts in two arrays of one length. */
export interface ComplexVector {
  readonly real: Float64Array;
  readonly imag: Float64Array;
}

/**
 * A rows x cols complex matrix of zeros.
 *
 * @throws KvlrError 'invalid-argument' when the sizes are not whole numbers.
 */
export function createComplexMatrix(rows: number, cols: number): ComplexMatrix {
  requireCount('rows', rows);
  requireCount('cols', cols);
  return { rows, cols, real: new Float64Array(rows * cols), imag: new Float64Array(rows * cols) };
}

/** The complex conjugate, entry by entry. */
export function conjugate({ real, imag }: ComplexVector): ComplexVector {
  return { real: real.slice(), imag: imag.map((value) => -value) };
}

/**
 * b^H gamma b, row after row of gamma. A real number: gamma [n, n] is symmetric, or Hermitian with a complex b [n]. With a second
 * moment gamma = E[k k^H] it is E|b^H k|^2, the energy of what b takes from k.
 *
 * @throws KvlrError 'invalid-argument' when gamma is not square or b does not have n entries.
 */
export function quadraticForm(b: ComplexVector, gamma: ComplexMatrix): number;
export function quadraticForm(b: Float64Array, gamma: Matrix): number;
export function quadraticForm(b: ComplexVector | Float64Array, gamma: ComplexMatrix | Matrix): number {
  requireSquare(gamma);
  const imagOfB = 'imag' in b ? b.imag : undefined;
  const realOfB = 'real' in b ? b.real : b;
  requireEqualLength('b', realOfB.length, gamma.rows);
  const real = 'data' in gamma ? gamma.data : gamma.real;
  const imag = 'data' in gamma ? undefined : gamma.imag;
  let sum = 0;
  for (let row = 0, place = 0; row < gamma.rows; row += 1) {
    for (let col = 0; col < gamma.rows; col += 1, place += 1) {
      if (imagOfB === undefined || imag === undefined) {
        sum += realOfB[row]! * realOfB[col]! * real[place]!;
        continue;
      }
      const productReal = realOfB[row]! * realOfB[col]! + imagOfB[row]! * imagOfB[col]!;
      const productImag = realOfB[row]! * imagOfB[col]! - imagOfB[row]! * realOfB[col]!;
      sum += productReal * real[place]! - productImag * imag[place]!;
    }
  }
  return sum;
}
