import { createNormalRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { EigenvalueDecomposition } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import {
  columnNorm,
  isDescending,
  largestDifference,
  symmetricWithSpectrum,
  toPeer,
} from '../../test-support/matrices.ts';
import { type ComplexMatrix, createComplexMatrix } from '../complex-matrix.ts';
import { eigHermitian } from './hermitian.ts';
import { eigSymmetric } from './symmetric.ts';

/** left diag(values) right^H by the plain triple loop. */
function assembleComplex(left: ComplexMatrix, values: ArrayLike<number>, right: ComplexMatrix): ComplexMatrix {
  const result = createComplexMatrix(left.rows, right.rows);
  for (let i = 0; i < left.rows; i += 1) {
    for (let j = 0; j < right.rows; j += 1) {
      for (let k = 0; k < left.cols; k += 1) {
        const l = i * left.cols + k;
        const r = j * right.cols + k;
        const target = i * right.rows + j;
        result.real[target]! += values[k]! * (left.real[l]! * right.real[r]! + left.imag[l]! * right.imag[r]!);
        result.imag[target]! += values[k]! * (left.imag[l]! * right.real[r]! - left.real[l]! * right.imag[r]!);
      }
    }
  }
  return result;
}

/** A random unitary matrix: Gram and Schmidt, twice, on random complex columns. */
function randomUnitary(n: number, seed: number): ComplexMatrix {
  const normal = createNormalRandom(seed);
  const q = createComplexMatrix(n, n);
  for (let col = 0; col < n; col += 1) {
    for (let row = 0; row < n; row += 1) {
      q.real[row * n + col] = normal();
      q.imag[row * n + col] = normal();
    }
    for (let pass = 0; pass < 2; pass += 1) {
      for (let other = 0; other < col; other += 1) {
        let real = 0;
        let imag = 0;
        for (let row = 0; row < n; row += 1) {
          const o = row * n + other;
          const c = row * n + col;
          real += q.real[o]! * q.real[c]! + q.imag[o]! * q.imag[c]!;
          imag += q.real[o]! * q.imag[c]! - q.imag[o]! * q.real[c]!;
        }
        for (let row = 0; row < n; row += 1) {
          const o = row * n + other;
          q.real[row * n + col]! -= real * q.real[o]! - imag * q.imag[o]!;
          q.imag[row * n + col]! -= real * q.imag[o]! + imag * q.real[o]!;
        }
      }
      const norm = columnNorm(q, col);
      for (let row = 0; row < n; row += 1) {
        q.real[row * n + col]! /= norm;
        q.imag[row * n + col]! /= norm;
      }
    }
  }
  return q;
}

function hermitianWithSpectrum(values: ArrayLike<number>, seed: number, factor = 1): ComplexMatrix {
  const n = values.length;
  const unitary = randomUnitary(n, seed);
  const { real, imag } = assembleComplex(unitary, values, unitary);
  for (let i = 0; i < n; i += 1) {
    imag[i * n + i] = 0;
    for (let j = 0; j < i; j += 1) {
      real[i * n + j] = real[j * n + i]!;
      imag[i * n + j] = -imag[j * n + i]!;
    }
  }
  return { rows: n, cols: n, real: real.map((x) => x * factor), imag: imag.map((x) => x * factor) };
}

function conjugateTranspose(a: ComplexMatrix): ComplexMatrix {
  const result = createComplexMatrix(a.cols, a.rows);
  for (let i = 0; i < a.rows; i += 1) {
    for (let j = 0; j < a.cols; j += 1) {
      result.real[j * a.rows + i] = a.real[i * a.cols + j]!;
      result.imag[j * a.rows + i] = -a.imag[i * a.cols + j]!;
    }
  }
  return result;
}

function complexDifference(a: ComplexMatrix, b: ComplexMatrix, factor = 1): number {
  return Math.max(
    largestDifference(
      a.real.map((x) => x * factor),
      b.real.map((x) => x * factor),
    ),
    largestDifference(
      a.imag.map((x) => x * factor),
      b.imag.map((x) => x * factor),
    ),
  );
}

const spectra = fc.record({
  values: fc.array(fc.constantFrom(-2, -1, -1, 0, 0, 1e-12, 0.5, 1, 1, 3), { minLength: 1, maxLength: 16 }),
  exponent: fc.constantFrom(-290, -150, 0, 0, 150, 290),
  seed: fc.nat(1e6),
});

describe('eigHermitian', () => {
  it('rebuilds the matrix from vectors orthonormal in C and finds planted spectra, degenerate ones too', () => {
    fc.assert(
      fc.property(spectra, ({ values, exponent, seed }) => {
        const factor = 10 ** exponent;
        const a = hermitianWithSpectrum(values, seed, factor);
        const eigen = eigHermitian(a);
        const ones = new Float64Array(values.length).fill(1);
        const unscaled = eigen.values.map((value) => value / factor);
        const unit = createComplexMatrix(values.length, values.length);
        for (let i = 0; i < values.length; i += 1) unit.real[i * values.length + i] = 1;
        const adjoint = conjugateTranspose(eigen.vectors);
        expect(complexDifference(assembleComplex(adjoint, ones, adjoint), unit)).toBeLessThan(1e-13);
        const rebuilt = assembleComplex(eigen.vectors, eigen.values, eigen.vectors);
        expect(complexDifference(rebuilt, a, 1 / factor)).toBeLessThan(1e-13);
        expect(isDescending(eigen.values)).toBe(true);
        expect(largestDifference(unscaled, Float64Array.from(values).sort().reverse())).toBeLessThan(1e-13);
      }),
      { numRuns: 150 },
    );
  });

  it('converges on graded matrices down to the underflow threshold', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(-3, -1, -0.2, 0.2, 1, 3),
        fc.integer({ min: 2, max: 40 }),
        fc.nat(1e6),
        (decades, n, seed) => {
          const a = hermitianWithSpectrum(
            Float64Array.from({ length: n }, (_, k) => 1 + (k % 5)),
            seed,
          );
          const weight = (k: number) => 10 ** Math.max(-150, decades < 0 ? decades * k : decades * (k - n + 1));
          for (let index = 0; index < n * n; index += 1) {
            const product = weight(Math.floor(index / n)) * weight(index % n);
            a.real[index]! *= product;
            a.imag[index]! *= product;
          }
          const { values, vectors } = eigHermitian(a);
          expect(complexDifference(assembleComplex(vectors, values, vectors), a)).toBeLessThan(1e-12);
          for (let col = 0; col < n; col += 1) expect(columnNorm(vectors, col)).toBeCloseTo(1, 12);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('agrees with ml-matrix on the real matrix of twice the size, where every eigenvalue comes twice', () => {
    const n = 12;
    const a = hermitianWithSpectrum(
      Float64Array.from({ length: n }, (_, k) => Math.sin(3 * k)),
      8,
    );
    const embedded = { rows: 2 * n, cols: 2 * n, data: new Float64Array(4 * n * n) };
    for (let i = 0; i < n; i += 1) {
      for (let j = 0; j < n; j += 1) {
        const real = a.real[i * n + j]!;
        const imag = a.imag[i * n + j]!;
        embedded.data[i * 2 * n + j] = real;
        embedded.data[(i + n) * 2 * n + j + n] = real;
        embedded.data[i * 2 * n + j + n] = -imag;
        embedded.data[(i + n) * 2 * n + j] = imag;
      }
    }
    const peer = new EigenvalueDecomposition(toPeer(embedded), { assumeSymmetric: true }).realEigenvalues;
    const twice = Float64Array.from([...eigHermitian(a).values, ...eigHermitian(a).values]).sort();
    expect(largestDifference(Float64Array.from(peer).sort(), twice)).toBeLessThan(1e-13);
  });

  it('agrees with eigSymmetric on real matrices', () => {
    const real = symmetricWithSpectrum([4, 2, 2, 0, -1, -6], 3);
    const a = { rows: 6, cols: 6, real: real.data, imag: new Float64Array(36) };
    expect(largestDifference(eigHermitian(a).values, eigSymmetric(real).values)).toBeLessThan(1e-13);
  });

  it('finds the vector of a matrix of rank one up to a phase', () => {
    // kappa = (1, i, 1 + i) / 2 has norm 1; kappa kappa^H.
    const real = Float64Array.of(1, 0, 1, 0, 1, 1, 1, 1, 2).map((x) => x / 4);
    const imag = Float64Array.of(0, -1, -1, 1, 0, 1, 1, -1, 0).map((x) => x / 4);
    const { values, vectors } = eigHermitian({ rows: 3, cols: 3, real, imag });
    expect(largestDifference(values, Float64Array.of(1, 0, 0))).toBeLessThan(1e-15);
    // <kappa, u> has modulus one.
    const overlapReal = (vectors.real[0]! + vectors.imag[3]! + vectors.real[6]! + vectors.imag[6]!) / 2;
    const overlapImag = (vectors.imag[0]! - vectors.real[3]! + vectors.imag[6]! - vectors.real[6]!) / 2;
    expect(overlapReal ** 2 + overlapImag ** 2).toBeCloseTo(1, 14);
  });

  it('handles zeros and the sizes 0 and 1', () => {
    expect([...eigHermitian(createComplexMatrix(3, 3)).values]).toEqual([0, 0, 0]);
    expect(eigHermitian(createComplexMatrix(0, 0)).values.length).toBe(0);
    const single = { rows: 1, cols: 1, real: Float64Array.of(-4), imag: Float64Array.of(0) };
    expect([...eigHermitian(single).values]).toEqual([-4]);
  });

  it('refuses what is not square, not Hermitian or not finite', () => {
    expectKvlrError(() => eigHermitian(createComplexMatrix(2, 3)), 'invalid-argument', /2x3/);
    const symmetric = createComplexMatrix(2, 2);
    symmetric.imag.set([0, 1, 1, 0]);
    expectKvlrError(() => eigHermitian(symmetric), 'invalid-argument', /Hermitian matrix.*\(1, 0\)/);
    const imaginaryDiagonal = createComplexMatrix(1, 1);
    imaginaryDiagonal.imag[0] = 1;
    expectKvlrError(() => eigHermitian(imaginaryDiagonal), 'invalid-argument', /Hermitian matrix.*\(0, 0\)/);
    const withNaN = createComplexMatrix(2, 2);
    withNaN.imag[1] = Number.NaN;
    expectKvlrError(() => eigHermitian(withNaN), 'non-finite', /NaN at row 0, column 1/);
  });
});
