import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import {
  largestDifference,
  largestMagnitude,
  orthonormalityError,
  randomMatrix,
  scaled,
  symmetricWithSpectrum,
} from '../../test-support/matrices.ts';
import type { Matrix } from '../matrix.ts';
import { multiply, multiplyTransposed } from '../product/multiply.ts';
import { qr } from '../qr.ts';
import { blockKrylov, eigSymmetricTop } from './symmetric-top.ts';

const size = 256;
const basis = qr(randomMatrix(size, size, 1)).q;

/** A symmetric matrix with value(k) for its k-th eigenvalue. */
function withSpectrum(value: (k: number) => number): Matrix {
  const weighed = basis.data.map((entry, index) => entry * value(index % size));
  const a = multiplyTransposed({ ...basis, data: weighed }, basis);
  for (let i = 0; i < size; i += 1) for (let j = 0; j < i; j += 1) a.data[i * size + j] = a.data[j * size + i]!;
  return a;
}

/** Largest entry of |A V - V diag(values)|. */
function residual(a: Matrix, values: Float64Array, vectors: Matrix): number {
  const product = multiply(a, vectors).data;
  return largestMagnitude(product.map((entry, index) => entry - values[index % values.length]! * vectors.data[index]!));
}

const spectra: Record<string, (k: number) => number> = {
  'fast decay': (k) => 1 / (k + 1) ** 2,
  'hardly any decay': (k) => 1 - k / 1000,
  'a sevenfold largest value': (k) => (k < 7 ? 1 : 0.5 ** (k - 6)),
  'negative values larger than the positive ones': (k) => (k < 128 ? 0.8 ** k : -2 * 0.8 ** (255 - k)),
  'rank five': (k) => (k < 5 ? 5 - k : 0),
};

describe('eigSymmetricTop', () => {
  it.each(Object.entries(spectra))('finds the largest values and their vectors: %s', (_, spectrum) => {
    const a = withSpectrum(spectrum);
    const expected = Float64Array.from({ length: size }, (_unused, k) => spectrum(k))
      .sort()
      .reverse();
    for (const count of [1, 8, 100]) {
      const { values, vectors } = eigSymmetricTop(a, count);
      expect([vectors.rows, vectors.cols]).toEqual([size, count]);
      expect(largestDifference(values, expected.slice(0, count))).toBeLessThan(1e-13);
      expect(orthonormalityError(vectors)).toBeLessThan(1e-13);
      expect(residual(a, values, vectors)).toBeLessThan(1e-10);
    }
  });

  it('gives the same at every scale', () => {
    const a = withSpectrum((k) => 0.5 ** k);
    const reference = eigSymmetricTop(a, 3).values;
    for (const factor of [1e-290, 1e290]) {
      const { values } = eigSymmetricTop(scaled(a, factor), 3);
      values.forEach((value, k) => {
        expect(value / factor).toBeCloseTo(reference[k]!, 13);
      });
    }
  });

  it('takes part of a small matrix, nothing, or all of it', () => {
    const a = symmetricWithSpectrum([5, 3, 1, -7], 2);
    expect([...eigSymmetricTop(a, 2).values].map((value) => Math.round(value * 1e12) / 1e12)).toEqual([5, 3]);
    expect(eigSymmetricTop(a, 0).vectors).toEqual({ rows: 4, cols: 0, data: new Float64Array(0) });
    expect(residual(a, ...(Object.values(eigSymmetricTop(a, 4)) as [Float64Array, Matrix]))).toBeLessThan(1e-14);
    expect([...eigSymmetricTop({ rows: size, cols: size, data: new Float64Array(size * size) }, 2).values]).toEqual([
      0, 0,
    ]);
  });

  it('refuses a count beyond the size and what is not symmetric', () => {
    const a = symmetricWithSpectrum([2, 1], 1);
    expectKvlrError(() => eigSymmetricTop(a, 3), 'invalid-argument', /count of at most 2/);
    expectKvlrError(() => eigSymmetricTop(a, 0.5), 'invalid-argument', /count/);
    expectKvlrError(() => eigSymmetricTop(randomMatrix(3, 3, 1), 1), 'invalid-argument', /symmetric/);
  });
});

describe('blockKrylov', () => {
  it('converges inside its limit where values decay, and says so where they do not', () => {
    expect(
      blockKrylov(
        withSpectrum((k) => 1 / (k + 1) ** 2),
        4,
        1e-11,
        100,
      )?.values[0],
    ).toBeCloseTo(1, 13);
    expect(
      blockKrylov(
        withSpectrum((k) => 1 - k / 1000),
        4,
        1e-11,
        60,
      ),
    ).toBeUndefined();
  });
});
