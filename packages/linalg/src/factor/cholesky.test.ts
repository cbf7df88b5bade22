import { expectKvlrError } from '@kvlr/testkit';
import { CholeskyDecomposition } from 'ml-matrix';
import { describe, expect, it } from 'vitest';
import {
  assemble,
  fromPeer,
  largestDifference,
  randomMatrix,
  scaled,
  symmetricWithSpectrum,
  toPeer,
} from '../../test-support/matrices.ts';
import { cholesky } from './cholesky.ts';

describe('cholesky', () => {
  it('agrees with ml-matrix and rebuilds the matrix', () => {
    const a = symmetricWithSpectrum([9, 4, 4, 1, 0.5, 1e-3, 1e-4], 2);
    const l = cholesky(a);
    const peer = fromPeer(new CholeskyDecomposition(toPeer(a)).lowerTriangularMatrix);
    expect(largestDifference(l.data, peer.data)).toBeLessThan(1e-14);
    expect(largestDifference(assemble(l, new Float64Array(7).fill(1), l).data, a.data)).toBeLessThan(1e-14);
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
