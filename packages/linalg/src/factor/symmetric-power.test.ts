import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { largestDifference, scaled, symmetricWithSpectrum } from '../../test-support/matrices.ts';
import { identity } from '../matrix.ts';
import { multiply } from '../product/multiply.ts';
import { symmetricPower } from './symmetric-power.ts';

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
