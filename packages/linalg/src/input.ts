import { KvlrError } from '@kvlr/core';

type Sized = { rows: number; cols: number };

/** Throws 'invalid-argument' unless `value` is a whole number >= 0. */
export function requireCount(argument: string, value: number): void {
  if (!Number.isInteger(value) || value < 0) {
    throw new KvlrError('invalid-argument', {
      message: `expected a whole number >= 0, got ${value}`,
      where: { argument },
      data: { argument, value },
    });
  }
}

/** Throws 'invalid-argument' unless the matrix has as many rows as columns. */
export function requireSquare({ rows, cols }: Sized): void {
  if (rows !== cols) {
    throw new KvlrError('invalid-argument', {
      message: `expected a square matrix, got ${rows}x${cols}`,
      data: { rows, cols },
    });
  }
}

/** Throws 'invalid-argument' unless the matrices have one shape. */
export function requireEqualShapes(left: Sized, right: Sized): void {
  requireEqualSizes('as many rows on both sides', left.rows, left, right, right.rows);
  requireEqualSizes('as many columns on both sides', left.cols, left, right, right.cols);
}

/** Throws 'invalid-argument' with the rule that was broken unless two sizes agree. */
export function requireEqualSizes(rule: string, expected: number, left: Sized, right: Sized, actual: number): void {
  if (expected !== actual) {
    throw new KvlrError('invalid-argument', {
      message: `expected ${rule}, got ${left.rows}x${left.cols} and ${right.rows}x${right.cols}`,
      data: { left: [left.rows, left.cols], right: [right.rows, right.cols] },
    });
  }
}

/** Throws 'invalid-argument' unless an argument has this many entries. */
export function requireEqualLength(argument: string, length: number, expected: number): void {
  if (length !== expected) {
    throw new KvlrError('invalid-argument', {
      message: `expected ${expected} numbers, got ${length}`,
      where: { argument },
      data: { expected, length },
    });
  }
}

/** Throws 'non-finite' with the place of the first NaN or infinity in a row-major array. */
export function requireFinite(data: Float64Array | Float32Array, cols: number, argument?: string): void {
  const index = findNonFinite(data);
  if (index < 0) return;
  const row = Math.floor(index / cols);
  const column = index % cols;
  throw new KvlrError('non-finite', {
    message: `expected finite numbers, got ${data[index]} at row ${row}, column ${column}`,
    hint: 'Look for NaN or infinity in the weights or activations that the matrix was computed from.',
    where: argument === undefined ? {} : { argument },
    data: { row, column, value: String(data[index]) },
  });
}

function findNonFinite(data: Float64Array | Float32Array): number {
  for (let index = 0; index < data.length; index += 1) {
    const value = data[index]!;
    // x - x is 0 for every finite number and NaN for the others: cheaper than Number.isFinite in a hot loop.
    if (value - value !== 0) return index;
  }
  return -1;
}

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
