import { createNormalRandom } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { EigenvalueDecomposition } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import {
  assemble,
  isDescending,
  largestDifference,
  largestMagnitude,
  orthonormalityError,
  plainTransposeProduct,
  randomMatrix,
  randomOrthonormal,
  scaled,
  symmetricWithSpectrum,
  toPeer,
} from '../../test-support/matrices.ts';
import { createMatrix, identity, type Matrix } from '../matrix.ts';
import { multiply, multiplyTransposed } from '../product/multiply.ts';
import { eigenvaluesSymmetric, eigSymmetric, symmetricPower } from './symmetric.ts';

/** Errors in units of the largest magnitude of the matrix. */
function relativeErrors(a: Matrix) {
  const { values, vectors } = eigSymmetric(a);
  const size = largestMagnitude(a.data) || 1;
  const back = assemble(
    vectors,
    values.map((value) => value / size),
    vectors,
  );
  return {
    reconstruction: largestDifference(back.data, scaled(a, 1 / size).data),
    orthonormality: orthonormalityError(vectors),
    descending: isDescending(values),
  };
}

/** Spectra with repeated, negative and zero values, at scales that overflow when squared carelessly. */
const spectra = fc.record({
  values: fc.array(fc.constantFrom(-2, -1, -1e-9, 0, 0, 1e-12, 0.5, 1, 1, 3), { minLength: 1, maxLength: 20 }),
  exponent: fc.constantFrom(-290, -150, 0, 0, 150, 290),
  seed: fc.nat(1e6),
});

describe('eigSymmetric', () => {
  it('rebuilds the matrix from orthonormal vectors and descending values, at every scale and rank', () => {
    fc.assert(
      fc.property(spectra, ({ values, exponent, seed }) => {
        const errors = relativeErrors(scaled(symmetricWithSpectrum(values, seed), 10 ** exponent));
        expect(errors.reconstruction).toBeLessThan(1e-13);
        expect(errors.orthonormality).toBeLessThan(1e-13);
        expect(errors.descending).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('converges on matrices whose rows fall, rise or jump over hundreds of orders of magnitude', () => {
    // Falling rows once stalled the sweeps of QL; entries near the underflow threshold once made a reflector NaN.
    const profiles: Record<string, (k: number, n: number) => number> = {
      falling: (k) => -k,
      rising: (k, n) => k - n + 1,
      valley: (k, n) => Math.abs(k - n / 2) - n / 2,
      peak: (k, n) => -Math.abs(k - n / 2),
      steps: (k, n) => ((k >> 2) & 1) * -n,
    };
    fc.assert(
      fc.property(
        fc.constantFrom(...Object.keys(profiles)),
        fc.constantFrom(0.05, 0.3, 1, 3),
        fc.integer({ min: 2, max: 64 }),
        fc.boolean(),
        fc.nat(1e6),
        (profile, decades, n, definite, seed) => {
          const factor = randomMatrix(n, n, seed);
          const a = definite ? plainTransposeProduct(factor, factor) : factor;
          const weight = (k: number) => 10 ** Math.max(-150, decades * profiles[profile]!(k, n));
          for (let i = 0; i < n; i += 1) {
            for (let j = 0; j <= i; j += 1) {
              const value = a.data[i * n + j]! * weight(i) * weight(j);
              a.data[i * n + j] = a.data[j * n + i] = value;
            }
          }
          const errors = relativeErrors(a);
          expect(errors.reconstruction).toBeLessThan(1e-12);
          expect(errors.orthonormality).toBeLessThan(1e-12);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('resolves decoupled blocks of very different scale, each to its own precision', () => {
    const data = new Float64Array(16);
    data.set([1, 0, 0, 0, 0, 2e-20, 1e-20, 0, 0, 1e-20, 2e-20, 0, 0, 0, 0, 5e-30]);
    const { values } = eigSymmetric({ rows: 4, cols: 4, data });
    [1, 3e-20, 1e-20, 5e-30].forEach((expected, k) => {
      expect(Math.abs(values[k]! / expected - 1)).toBeLessThan(1e-14);
    });
  });

  it('finds planted spectra, degenerate ones too', () => {
    fc.assert(
      fc.property(spectra, ({ values, seed }) => {
        const planted = Float64Array.from(values).sort().reverse();
        expect(largestDifference(eigSymmetric(symmetricWithSpectrum(values, seed)).values, planted)).toBeLessThan(
          1e-13,
        );
      }),
      { numRuns: 100 },
    );
  });

  it('keeps the trace', () => {
    const a = symmetricWithSpectrum([5, 3, 3, -1, 0, 0, -8], 4);
    const trace = a.data.reduce((sum, value, index) => sum + (index % (a.cols + 1) === 0 ? value : 0), 0);
    expect(eigSymmetric(a).values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(trace, 12);
  });

  it('agrees with ml-matrix', () => {
    const factor = randomMatrix(50, 40, 11);
    const gram = plainTransposeProduct(factor, factor);
    const peer = new EigenvalueDecomposition(toPeer(gram), { assumeSymmetric: true });
    const expected = Float64Array.from(peer.realEigenvalues).sort().reverse();
    expect(largestDifference(eigSymmetric(gram).values, expected)).toBeLessThan(1e-12 * expected[0]!);
  });

  it('agrees with the closed form of the second-difference matrix', () => {
    const n = 100;
    const a = { rows: n, cols: n, data: new Float64Array(n * n) };
    for (let i = 0; i < n; i += 1) {
      a.data[i * n + i] = 2;
      if (i > 0) a.data[i * n + i - 1] = a.data[(i - 1) * n + i] = -1;
    }
    const expected = Float64Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos((Math.PI * (n - k)) / (n + 1)));
    expect(largestDifference(eigSymmetric(a).values, expected)).toBeLessThan(1e-13);
  });

  it('captures at least as much energy in its top directions as any other basis', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.integer({ min: 1, max: 8 }), (seed, rank) => {
        const factor = randomMatrix(10, 8, seed);
        const gram = plainTransposeProduct(factor, factor);
        const best = eigSymmetric(gram)
          .values.subarray(0, rank)
          .reduce((sum, value) => sum + value, 0);
        const basis = randomOrthonormal(8, rank, seed + 1);
        const energy = assemble(basis, new Float64Array(rank).fill(1), basis);
        const captured = energy.data.reduce((sum, value, index) => sum + value * gram.data[index]!, 0);
        expect(captured).toBeLessThanOrEqual(best * (1 + 1e-12));
      }),
      { numRuns: 50 },
    );
  });

  it('handles a 256 x 256 matrix whose spectrum falls by twelve orders of magnitude', () => {
    const values = Float64Array.from({ length: 256 }, (_, k) => 10 ** (-k / 21));
    const a = symmetricWithSpectrum(values, 5);
    expect(largestDifference(eigSymmetric(a).values, values)).toBeLessThan(1e-14);
    const errors = relativeErrors(a);
    expect(errors.reconstruction).toBeLessThan(1e-12);
    expect(errors.orthonormality).toBeLessThan(1e-12);
  });

  it('handles zeros, identities, diagonals, decoupled blocks and the sizes 0 and 1', () => {
    expect([...eigSymmetric({ rows: 3, cols: 3, data: new Float64Array(9) }).values]).toEqual([0, 0, 0]);
    expect([...eigSymmetric({ rows: 2, cols: 2, data: Float64Array.of(1, 0, 0, 1) }).values]).toEqual([1, 1]);
    const diagonal = Float64Array.of(-1, 0, 0, 0, 7, 0, 0, 0, 2);
    expect([...eigSymmetric({ rows: 3, cols: 3, data: diagonal }).values]).toEqual([7, 2, -1]);
    const blocks = Float64Array.of(0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0);
    expect([...eigSymmetric({ rows: 4, cols: 4, data: blocks }).values].map(Math.round)).toEqual([1, 1, -1, -1]);
    expect(eigSymmetric({ rows: 0, cols: 0, data: new Float64Array(0) }).values.length).toBe(0);
    const single = eigSymmetric({ rows: 1, cols: 1, data: Float64Array.of(-4) });
    expect([...single.values, Math.abs(single.vectors.data[0]!)]).toEqual([-4, 1]);
  });

  it('leaves its input alone', () => {
    const a = symmetricWithSpectrum([3, 2, 1], 9);
    const before = Float64Array.from(a.data);
    eigSymmetric(a);
    expect(a.data).toEqual(before);
  });

  it('refuses what is not square, not symmetric or not finite', () => {
    expectKvlrError(() => eigSymmetric(randomMatrix(3, 4, 1)), 'invalid-argument', /square.*3x4/);
    expectKvlrError(() => eigSymmetric(randomMatrix(3, 3, 1)), 'invalid-argument', /symmetric matrix.*\(1, 0\)/);
    const withNaN = { rows: 2, cols: 2, data: Float64Array.of(1, 0, 0, Number.NaN) };
    expectKvlrError(() => eigSymmetric(withNaN), 'non-finite', /NaN at row 1, column 1/);
    const withInfinity = { rows: 1, cols: 1, data: Float64Array.of(Number.NEGATIVE_INFINITY) };
    expectKvlrError(() => eigSymmetric(withInfinity), 'non-finite', /-Infinity at row 0, column 0/);
  });
});

describe('eigenvaluesSymmetric', () => {
  it.each([0, 1, 2, 5, 40])('gives the values of eigSymmetric at size %s', (size) => {
    const normal = createNormalRandom(size);
    const factor = createMatrix(size, size, Float64Array.from({ length: size * size }, normal));
    const matrix = multiplyTransposed(factor, factor);
    const { values } = eigSymmetric(matrix);
    const found = eigenvaluesSymmetric(matrix);
    expect(found).toHaveLength(size);
    found.forEach((value, index) => {
      expect(Math.abs(value - values[index]!)).toBeLessThan(1e-12 * (values[0]! + 1));
    });
  });

  it('orders negative values too, and leaves the input as it was', () => {
    const matrix = createMatrix(3, 3, Float64Array.of(-2, 0, 0, 0, 10, 0, 0, 0, 1));
    expect([...eigenvaluesSymmetric(matrix)]).toEqual([10, 1, -2]);
    expect([...matrix.data]).toEqual([-2, 0, 0, 0, 10, 0, 0, 0, 1]);
  });

  it('refuses a matrix that is not symmetric', () => {
    expect(() => eigenvaluesSymmetric(createMatrix(2, 2, Float64Array.of(1, 2, 3, 4)))).toThrow(
      /expected a symmetric matrix/,
    );
  });
});

describe('symmetricPower', () => {
  const a = symmetricWithSpectrum([4, 2, 2, 1, 0.1], 3);

  it('has square roots that square to the matrix and inverse roots that undo them', () => {
    const root = symmetricPower(a, 0.5);
    expect(largestDifference(multiply(root, root).data, a.data)).toBeLessThan(1e-14);
    expect(largestDifference(multiply(root, symmetricPower(a, -0.5)).data, identity(5).data)).toBeLessThan(1e-13);
    expect(largestDifference(multiply(a, symmetricPower(a, -1)).data, identity(5).data)).toBeLessThan(1e-13);
  });

  it('raises small eigenvalues to the floor, in all powers alike', () => {
    const singular = symmetricWithSpectrum([4, 1, 0, 0], 6);
    const floored = symmetricWithSpectrum([4, 1, 4e-4, 4e-4], 6);
    const root = symmetricPower(singular, 0.5, { relativeFloor: 1e-4 });
    const inverseRoot = symmetricPower(singular, -0.5, { relativeFloor: 1e-4 });
    expect(largestDifference(multiply(root, root).data, floored.data)).toBeLessThan(1e-14);
    expect(largestDifference(multiply(root, inverseRoot).data, identity(4).data)).toBeLessThan(1e-12);
  });

  it('works at extreme scales', () => {
    for (const scale of [1e-150, 1e150]) {
      const root = scaled(symmetricPower(scaled(a, scale), 0.5), scale ** -0.5);
      expect(largestDifference(root.data, symmetricPower(a, 0.5).data)).toBeLessThan(1e-14);
    }
  });

  it('takes positive powers of zeros and refuses negative ones', () => {
    const zeros = { rows: 2, cols: 2, data: new Float64Array(4) };
    expect([...symmetricPower(zeros, 0.5).data]).toEqual([0, 0, 0, 0]);
    expectKvlrError(() => symmetricPower(zeros, -0.5), 'numerical', /exponent -0.5/);
    expectKvlrError(() => symmetricPower(a, 0.5, { relativeFloor: -1 }), 'invalid-argument', /relativeFloor/);
  });
});
