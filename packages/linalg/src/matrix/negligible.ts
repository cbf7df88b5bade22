/**
 * Magnitudes below this, in a matrix scaled to about 1, are taken for zero: far below any rounding error, and their squares
 * are still ordinary numbers. Smaller ones would square to numbers that have lost their digits.
 */
export const negligible = 1e-140;

/** The square of `negligible`. */
export const negligibleSquare = 1e-280;
