import { createNormalRandom } from '@kvlr/core';
import { createComplexMatrix, eigHermitian } from '@kvlr/linalg';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TopEigenvalueSolver } from './top-eigenvalue-solver.ts';

/** B B^H of a random complex [size, rank] matrix. */
function randomGram(size: number, rank: number, seed: number) {
  const normal = createNormalRandom(seed);
  const real = Float64Array.from({ length: size * rank }, normal);
  const imag = Float64Array.from({ length: size * rank }, normal);
  const gram = createComplexMatrix(size, size);
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      for (let k = 0; k < rank; k++) {
        const left = row * rank + k;
        const right = column * rank + k;
        gram.real[row * size + column]! += real[left]! * real[right]! + imag[left]! * imag[right]!;
        gram.imag[row * size + column]! += imag[left]! * real[right]! - real[left]! * imag[right]!;
      }
    }
  }
  return gram;
}

function topOf(real: ArrayLike<number>, imag: ArrayLike<number>, size: number, capacity = size): number {
  const solver = new TopEigenvalueSolver(capacity);
  solver.real.set(real);
  solver.imag.set(imag);
  return solver.solve(size);
}

describe('TopEigenvalueSolver', () => {
  it('agrees with eigHermitian at any size and rank', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 12 }), fc.nat(1e6), (size, rank, seed) => {
        const gram = randomGram(size, rank, seed);
        const expected = eigHermitian(gram).values[0]!;
        expect(Math.abs(topOf(gram.real, gram.imag, size, 12) - expected)).toBeLessThan(1e-12 * expected);
      }),
      { numRuns: 200 },
    );
  });

  it('keeps its accuracy at 128 rows', () => {
    const gram = randomGram(128, 40, 3);
    const expected = eigHermitian(gram).values[0]!;
    expect(Math.abs(topOf(gram.real, gram.imag, 128) / expected - 1)).toBeLessThan(1e-12);
  });

  it.each([1, 2, 3, 4, 8])('finds a root of multiplicity %s', (multiplicity) => {
    const size = 8;
    const diagonal = Float64Array.from({ length: size * size }, (_, index) =>
      index % (size + 1) === 0 ? (index / (size + 1) < multiplicity ? 5 : 1) : 0,
    );
    // The same eigenvalues in a basis in which nothing is diagonal: a reflection of the diagonal matrix.
    const direction = Float64Array.from({ length: size }, (_, index) => Math.sin(index + 1));
    const norm = direction.reduce((sum, value) => sum + value * value, 0);
    const reflector = (row: number, column: number) =>
      (row === column ? 1 : 0) - (2 * direction[row]! * direction[column]!) / norm;
    const rotated = diagonal.map((_, index) => {
      let sum = 0;
      for (let k = 0; k < size; k++) {
        sum += reflector(Math.floor(index / size), k) * diagonal[k * (size + 1)]! * reflector(k, index % size);
      }
      return sum;
    });
    expect(topOf(rotated, new Float64Array(size * size), size)).toBeCloseTo(5, 11);
  });

  it('gives 0 for zeros and keeps scales', () => {
    expect(topOf(new Float64Array(9), new Float64Array(9), 3)).toBe(0);
    const gram = randomGram(4, 4, 5);
    const expected = eigHermitian(gram).values[0]!;
    const tiny = topOf(
      gram.real.map((value) => value * 1e-60),
      gram.imag.map((value) => value * 1e-60),
      4,
    );
    expect(tiny / (expected * 1e-60)).toBeCloseTo(1, 11);
  });
});
