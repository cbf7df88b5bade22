import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { CholeskyDecomposition, solve } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import {
  assemble,
  fromPeer,
  largestDifference,
  plainTransposeProduct,
  randomMatrix,
  scaled,
  symmetricWithSpectrum,
  toPeer,
} from '../test-support/matrices.ts';
import { cholesky, solveCholesky, solveRidge } from './cholesky.ts';
import type { Matrix } from './matrix.ts';

describe('cholesky', () => {
  it('agrees with ml-matrix and rebuilds the matrix', () => {
    const a = symmetricWithSpectrum([9, 4, 4, 1, 0.5, 1e-3, 1e-4], 2);
    const l = cholesky(a);
    const peer = fromPeer(new CholeskyDecomposition(toPeer(a)).lowerTriangularMatrix);
    expect(largestDifference(l.data, peer.data)).toBeLessThan(1e-14);
    expect(largestDifference(assemble(l, new Float64Array(7).fill(1), l).data, a.data)).toBeLessThan(1e-14);
  });

  it('agrees beyond the size of a block, at its edges too', () => {
    for (const size of [63, 64, 65, 129, 200]) {
      const x = randomMatrix(size + 20, size, size);
      const a = plainTransposeProduct(x, x);
      const l = cholesky(a);
      const peer = fromPeer(new CholeskyDecomposition(toPeer(a)).lowerTriangularMatrix);
      expect(largestDifference(l.data, peer.data)).toBeLessThan(1e-12 * Math.max(...a.data));
      const rhs = randomMatrix(size, 7, size + 1);
      const expected = fromPeer(new CholeskyDecomposition(toPeer(a)).solve(toPeer(rhs)));
      const scale = Math.max(...expected.data.map(Math.abs));
      expect(largestDifference(solveCholesky(l, rhs).data, expected.data)).toBeLessThan(1e-9 * scale);
    }
  });

  it('finds the row behind the first blocks where a matrix is no longer positive definite', () => {
    const a = plainTransposeProduct(randomMatrix(200, 150, 3), randomMatrix(200, 150, 3));
    a.data[140 * 150 + 140] = -1;
    expectKvlrError(() => cholesky(a), 'numerical', /at row 140/);
  });

  it('works at scales whose squares overflow', () => {
    for (const scale of [1e-150, 1e150]) {
      const a = symmetricWithSpectrum([3, 2, 1], 5);
      const unscaled = scaled(cholesky(scaled(a, scale * scale)), 1 / scale);
      expect(largestDifference(unscaled.data, cholesky(a).data)).toBeLessThan(1e-14);
    }
  });

  it('refuses matrices that are not positive definite, square or finite, and says what to do', () => {
    const singular = { rows: 2, cols: 2, data: Float64Array.of(1, 1, 1, 1) };
    expectKvlrError(() => cholesky(singular), 'numerical', /expected a positive definite matrix.*row 1/);
    expectKvlrError(() => cholesky(randomMatrix(2, 3, 1)), 'invalid-argument', /2x3/);
    const withNaN = { rows: 1, cols: 1, data: Float64Array.of(Number.NaN) };
    expectKvlrError(() => cholesky(withNaN), 'non-finite', /NaN/);
  });
});

function withRidge(gram: Matrix, lambda: number): Matrix {
  const data = gram.data.map((value, index) => value + (index % (gram.cols + 1) === 0 ? lambda : 0));
  return { ...gram, data };
}

describe('solveRidge', () => {
  it('agrees with a general solve by ml-matrix', () => {
    const x = randomMatrix(40, 9, 1);
    const gram = plainTransposeProduct(x, x);
    const rhs = plainTransposeProduct(x, randomMatrix(40, 5, 2));
    const expected = fromPeer(solve(toPeer(withRidge(gram, 0.3)), toPeer(rhs)));
    expect(largestDifference(solveRidge(gram, rhs, 0.3).data, expected.data)).toBeLessThan(1e-13);
  });

  it('minimises ||Y - X B||^2 + lambda ||B||^2: no nearby map does better, at any rank', () => {
    fc.assert(
      fc.property(
        fc.nat(1e6),
        fc.integer({ min: 1, max: 8 }),
        fc.double({ min: 1e-3, max: 10, noNaN: true }),
        (seed, rows, lambda) => {
          const x = randomMatrix(rows, 5, seed);
          const y = randomMatrix(rows, 3, seed + 1);
          const solution = solveRidge(plainTransposeProduct(x, x), plainTransposeProduct(x, y), lambda);
          const objective = (map: Float64Array) => {
            let sum = map.reduce((total, value) => total + lambda * value * value, 0);
            for (let i = 0; i < rows; i += 1) {
              for (let j = 0; j < 3; j += 1) {
                let residual = y.data[i * 3 + j]!;
                for (let k = 0; k < 5; k += 1) residual -= x.data[i * 5 + k]! * map[k * 3 + j]!;
                sum += residual * residual;
              }
            }
            return sum;
          };
          const step = randomMatrix(5, 3, seed + 2).data;
          const best = objective(solution.data);
          for (const size of [-1e-3, 1e-3]) {
            expect(objective(solution.data.map((value, k) => value + size * step[k]!))).toBeGreaterThan(best);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('solves with lambda 0 where the gram matrix is definite and refuses where it is not', () => {
    const diagonal = { rows: 2, cols: 2, data: Float64Array.of(4, 0, 0, 16) };
    const rhs = { rows: 2, cols: 1, data: Float64Array.of(8, 3) };
    expect([...solveRidge(diagonal, rhs, 0).data]).toEqual([2, 0.1875]);
    const zeros = { rows: 2, cols: 2, data: new Float64Array(4) };
    expectKvlrError(() => solveRidge(zeros, rhs, 0), 'numerical', /positive definite/);
    expect([...solveRidge(zeros, rhs, 4).data]).toEqual([2, 0.75]);
  });

  it('refuses wrong sizes, negative lambdas and numbers that are not finite', () => {
    const gram = { rows: 2, cols: 2, data: Float64Array.of(1, 0, 0, 1) };
    expectKvlrError(() => solveRidge(gram, randomMatrix(3, 1, 1), 1), 'invalid-argument', /2x2 and 3x1/);
    expectKvlrError(() => solveRidge(gram, randomMatrix(2, 1, 1), -1), 'invalid-argument', /lambda.*-1/);
    const rhs = { rows: 2, cols: 1, data: Float64Array.of(Number.NaN, 0) };
    expectKvlrError(() => solveRidge(gram, rhs, 1), 'non-finite', /^rhs: .*row 0/);
    const gramWithNaN = { rows: 2, cols: 2, data: Float64Array.of(1, 0, 0, Number.NaN) };
    expectKvlrError(() => solveRidge(gramWithNaN, randomMatrix(2, 1, 1), 1), 'non-finite', /^gram: .*row 1/);
    expectKvlrError(() => solveCholesky(cholesky(gram), randomMatrix(3, 1, 1)), 'invalid-argument', /2x2 and 3x1/);
  });
});
