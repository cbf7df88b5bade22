import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { solveSecularEquation } from './secular-equation.ts';

/** Gaps between neighbouring poles and weights over many orders of magnitude, as deflation lets them through. */
const problems = fc.array(
  fc.record({ gap: fc.integer({ min: -12, max: 0 }), weight: fc.integer({ min: -28, max: 1 }) }),
  {
    minLength: 1,
    maxLength: 30,
  },
);

describe('solveSecularEquation', () => {
  it('puts one root behind every pole, where the function is zero to within rounding', () => {
    fc.assert(
      fc.property(problems, (terms) => {
        let sum = 0;
        const poles = Float64Array.from(terms, ({ gap }) => (sum += 10 ** gap));
        const weights = Float64Array.from(terms, ({ weight }) => 10 ** weight);
        const gaps = new Float64Array(terms.length);
        for (let index = 0; index < terms.length; index += 1) {
          const root = solveSecularEquation(poles, weights, index, gaps);
          expect(root).toBeGreaterThanOrEqual(poles[index]!);
          expect(root).toBeLessThanOrEqual(poles[index + 1] ?? Number.POSITIVE_INFINITY);
          let value = 1;
          let magnitude = 1;
          for (let j = 0; j < terms.length; j += 1) {
            // The sign of each gap must be right even where the root rounds to the pole.
            expect(Math.sign(gaps[j]!)).toBe(j <= index ? -1 : 1);
            value += weights[j]! / gaps[j]!;
            magnitude += weights[j]! / Math.abs(gaps[j]!);
          }
          expect(Math.abs(value)).toBeLessThan(1e-13 * magnitude);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('solves one and two terms in closed form', () => {
    const gaps = new Float64Array(2);
    expect(solveSecularEquation(Float64Array.of(3), Float64Array.of(0.5), 0, gaps.subarray(0, 1))).toBe(3.5);
    // diag(0, 1) + w w^T with w = (1, 1): the roots of x^2 - 3 x + 1.
    const roots = [0, 1].map((index) =>
      solveSecularEquation(Float64Array.of(0, 1), Float64Array.of(1, 1), index, gaps),
    );
    expect(roots[0]).toBeCloseTo((3 - Math.sqrt(5)) / 2, 15);
    expect(roots[1]).toBeCloseTo((3 + Math.sqrt(5)) / 2, 15);
  });
});
