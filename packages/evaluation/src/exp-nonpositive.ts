const tableSize = 64;
const fractionalPowers = Float64Array.from({ length: tableSize }, (_, index) => 2 ** (index / tableSize));
const inversePowers = Float64Array.from({ length: 1075 }, (_, exponent) => 2 ** -exponent);
const inverseStep = tableSize / Math.LN2;
const step = Math.LN2 / tableSize;

/**
 * exp(x) for x <= 0, to a relative error of a few 1e-14 for x >= -100, several times faster than Math.exp: scoring a window
 * takes it millions of times. x = (64 k + j + r) ln 2 / 64, so exp(x) = 2^k 2^(j/64) exp(r'), the last by Taylor's series
 * (table-driven exponential, Tang 1989). Below -700 it returns 0; NaN stays NaN.
 */
export function expNonpositive(x: number): number {
  if (x < -700) return 0;
  const index = Math.floor(x * inverseStep + 0.5) | 0;
  const rest = x - index * step;
  const series = 1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24 + rest * (1 / 120)))));
  return inversePowers[-(index >> 6)]! * fractionalPowers[index & 63]! * series;
}
