import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { fromPeer, largestDifference, randomMatrix, toPeer } from '../test-support/matrices.ts';
import { conjugate, createComplexMatrix, quadraticForm } from './complex-matrix.ts';
import { addTo, createMatrix, frobeniusSquared, identity, innerProduct, scale, trace, transpose } from './matrix.ts';
import { multiply } from './product/multiply.ts';

describe('createMatrix and createComplexMatrix', () => {
  it('make zeros, or wrap the given numbers without copying', () => {
    const data = Float64Array.of(1, 2, 3, 4, 5, 6);
    expect(createMatrix(2, 3, data).data).toBe(data);
    expect([...createMatrix(1, 2).data]).toEqual([0, 0]);
    expect([...createComplexMatrix(1, 1).real, ...createComplexMatrix(1, 1).imag]).toEqual([0, 0]);
  });

  it('refuse sizes that are not counts and data that do not fit', () => {
    expectKvlrError(() => createMatrix(2, 1.5), 'invalid-argument', /^cols: expected .*1.5/);
    expectKvlrError(() => createComplexMatrix(-1, 1), 'invalid-argument', /^rows: .*-1/);
    expectKvlrError(() => createMatrix(2, 2, new Float64Array(3)), 'invalid-argument', /4 numbers for 2x2, got 3/);
  });
});

describe('identity and transpose', () => {
  it('has ones on the diagonal', () => {
    expect([...identity(3).data]).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 1]);
  });

  it('agrees with ml-matrix beyond one tile', () => {
    const a = randomMatrix(37, 18, 1);
    expect(transpose(a)).toEqual(fromPeer(toPeer(a).transpose()));
  });
});

describe('scale and addTo', () => {
  const a = randomMatrix(3, 5, 2);

  it('a + 2 a - 3 a is nothing, and scale leaves its argument alone', () => {
    const sum = scale(a, 1);
    addTo(sum, a, 2);
    addTo(sum, scale(a, 3), -1);
    expect(largestDifference(sum.data, new Float64Array(15))).toBeLessThan(1e-14);
    expect(a).toEqual(randomMatrix(3, 5, 2));
  });

  it('refuses other shapes', () => {
    expectKvlrError(() => addTo(createMatrix(2, 3), createMatrix(3, 2)), 'invalid-argument', /2x3 and 3x2/);
  });
});

describe('trace, innerProduct, frobeniusSquared', () => {
  const [a, b] = [randomMatrix(4, 7, 3), randomMatrix(4, 7, 4)];

  it('belong together: tr(a^T b) is the inner product, and with itself the square of the norm', () => {
    expect(innerProduct(a, b)).toBeCloseTo(trace(multiply(transpose(a), b)), 12);
    expect(innerProduct(a, b)).toBeCloseTo(trace(multiply(b, transpose(a))), 12);
    expect(frobeniusSquared(a)).toBeCloseTo(toPeer(a).norm('frobenius') ** 2, 12);
    expect(frobeniusSquared(scale(a, -2))).toBe(4 * frobeniusSquared(a));
  });

  it('refuse what is not square, and other shapes', () => {
    expectKvlrError(() => trace(a), 'invalid-argument', /square matrix, got 4x7/);
    expectKvlrError(() => innerProduct(a, transpose(b)), 'invalid-argument', /4x7 and 7x4/);
  });
});

describe('quadraticForm', () => {
  const keys = randomMatrix(6, 20, 5);
  const imaginary = randomMatrix(6, 20, 6);
  const [b, c] = [randomMatrix(6, 1, 7).data, randomMatrix(6, 1, 8).data];

  it('is |b^T k|^2 summed over k, with gamma = sum of k k^T', () => {
    const seen = multiply({ rows: 1, cols: 6, data: b }, keys);
    expect(quadraticForm(b, multiply(keys, transpose(keys)))).toBeCloseTo(frobeniusSquared(seen), 11);
  });

  it('is |b^H k|^2 summed over complex k, with gamma = sum of k k^H', () => {
    // Entry (i, l) of gamma is the sum of (x_i + i y_i) (x_l - i y_l).
    const [xx, yy] = [multiply(keys, transpose(keys)), multiply(imaginary, transpose(imaginary))];
    const [yx, xy] = [multiply(imaginary, transpose(keys)), multiply(keys, transpose(imaginary))];
    const gamma = {
      rows: 6,
      cols: 6,
      real: xx.data.map((value, place) => value + yy.data[place]!),
      imag: yx.data.map((value, place) => value - xy.data[place]!),
    };
    // b^H k = (b - i c)^T (x + i y).
    const row = (data: Float64Array) => ({ rows: 1, cols: 6, data });
    const [bx, by] = [multiply(row(b), keys), multiply(row(b), imaginary)];
    const [cx, cy] = [multiply(row(c), keys), multiply(row(c), imaginary)];
    const seenReal = bx.data.map((value, place) => value + cy.data[place]!);
    const seenImag = by.data.map((value, place) => value - cx.data[place]!);
    const whole = (data: Float64Array) => data.reduce((sum, value) => sum + value * value, 0);
    const vector = { real: b, imag: c };
    expect(quadraticForm(vector, gamma)).toBeCloseTo(whole(seenReal) + whole(seenImag), 10);
    // A form of the conjugate is that of the conjugate matrix.
    const mirrored = { ...gamma, imag: gamma.imag.map((value) => -value) };
    expect(quadraticForm(conjugate(vector), mirrored)).toBeCloseTo(quadraticForm(vector, gamma), 12);
  });

  it('refuses what does not fit', () => {
    expectKvlrError(() => quadraticForm(b, identity(5)), 'invalid-argument', /^b: expected 5 numbers, got 6/);
    expectKvlrError(() => quadraticForm(b, keys), 'invalid-argument', /square matrix, got 6x20/);
  });
});
