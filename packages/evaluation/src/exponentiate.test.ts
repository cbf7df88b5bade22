import { describe, expect, it } from 'vitest';
import { exponentiate } from './exponentiate.ts';

describe('exponentiate', () => {
  it('has the error of the exponential for small errors', () => {
    const { value, standardError } = exponentiate({ value: 3, standardError: 1e-6 });
    expect(value).toBe(Math.exp(3));
    expect(standardError).toBeCloseTo((Math.exp(3 + 1e-6) - Math.exp(3 - 1e-6)) / 2, 12);
  });

  it('leaves an unknown error unknown', () => {
    expect(exponentiate({ value: 0, tokenCount: 4 })).toEqual({ value: 1, standardError: undefined, tokenCount: 4 });
  });
});
