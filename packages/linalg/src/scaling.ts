/**
 * Magnitudes below this, in a matrix scaled to about 1, are taken for zero: far below any rounding error, and their squares
 * are still ordinary numbers. Smaller ones would square to numbers that have lost their digits.
 */
export const negligible = 1e-140;

/** The square of `negligible`. */
export const negligibleSquare = 1e-280;

/**
 * The power of two that brings the largest magnitude of these arrays near 1; 1 for zeros. Multiplying by it is exact,
 * and the squares inside a decomposition then neither overflow nor vanish at any scale of the input.
 */
export function powerOfTwoScale(...arrays: Float64Array[]): number {
  let largest = 0;
  for (const array of arrays) {
    for (let i = 0; i < array.length; i += 1) {
      const magnitude = Math.abs(array[i]!);
      if (magnitude > largest) largest = magnitude;
    }
  }
  if (largest === 0) return 1;
  const exponent = Math.floor(Math.log2(largest));
  return 2 ** -Math.max(-1000, Math.min(1000, exponent));
}
