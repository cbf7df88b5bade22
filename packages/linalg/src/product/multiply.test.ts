import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromPeer, largestDifference, randomMatrix, toPeer } from '../../test-support/matrices.ts';
import { transpose } from '../matrix.ts';
import { multiply, multiplyTransposed } from './multiply.ts';

describe('multiply and multiplyTransposed', () => {
  it('agree with ml-matrix for every shape, empty ones included', () => {
    const size = fc.integer({ min: 0, max: 11 });
    fc.assert(
      fc.property(size, size, size, fc.nat(1e6), (rows, depth, cols, seed) => {
        const a = randomMatrix(rows, depth, seed);
        const b = randomMatrix(depth, cols, seed + 1);
        const expected = fromPeer(toPeer(a).mmul(toPeer(b)));
        expect(largestDifference(multiply(a, b).data, expected.data)).toBeLessThan(1e-13);
        expect(largestDifference(multiplyTransposed(a, transpose(b)).data, expected.data)).toBeLessThan(1e-13);
      }),
      { numRuns: 150 },
    );
  });

  it('agree with ml-matrix where the depth takes more than one pass', () => {
    const a = randomMatrix(7, 603, 1);
    const b = randomMatrix(603, 9, 2);
    const expected = fromPeer(toPeer(a).mmul(toPeer(b)));
    expect(largestDifference(multiply(a, b).data, expected.data)).toBeLessThan(1e-12);
    expect(largestDifference(multiplyTransposed(a, transpose(b)).data, expected.data)).toBeLessThan(1e-12);
  });

  it('carry NaN through instead of losing it', () => {
    const a = { rows: 1, cols: 2, data: Float64Array.of(Number.NaN, 0) };
    const b = { rows: 2, cols: 1, data: Float64Array.of(0, 1) };
    expect(multiply(a, b).data[0]).toBeNaN();
  });

  it('refuse sizes that do not fit', () => {
    expectKvlrError(() => multiply(randomMatrix(2, 3, 1), randomMatrix(2, 3, 1)), 'invalid-argument', /2x3 and 2x3/);
    expectKvlrError(
      () => multiplyTransposed(randomMatrix(2, 3, 1), randomMatrix(2, 4, 1)),
      'invalid-argument',
      /2x3 and 2x4/,
    );
  });
});
