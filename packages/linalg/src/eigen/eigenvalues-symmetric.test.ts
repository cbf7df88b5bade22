import { createNormalRandom } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { createMatrix } from '../matrix.ts';
import { multiplyTransposed } from '../product/multiply-transposed.ts';
import { eigSymmetric } from './eig-symmetric.ts';
import { eigenvaluesSymmetric } from './eigenvalues-symmetric.ts';

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
