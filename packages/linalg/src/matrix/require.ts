import { KvlrError } from '@kvlr/core';

type Sized = { rows: number; cols: number };

/** Throws 'invalid-argument' unless `value` is a whole number >= 0. */
export function requireCount(functionName: string, argument: string, value: number): void {
  if (!Number.isInteger(value) || value < 0) {
    throw new KvlrError('invalid-argument', {
      message: `${functionName}: expected ${argument} to be a whole number >= 0, got ${value}`,
      data: { argument, value },
    });
  }
}

/** Throws 'invalid-argument' unless the matrix has as many rows as columns. */
export function requireSquare(functionName: string, matrix: Sized): void {
  if (matrix.rows !== matrix.cols) {
    throw new KvlrError('invalid-argument', {
      message: `${functionName}: expected a square matrix, got ${matrix.rows}x${matrix.cols}`,
      data: { rows: matrix.rows, cols: matrix.cols },
    });
  }
}

/** Throws 'invalid-argument' with the rule that was broken unless two sizes agree. */
export function requireEqualSizes(
  functionName: string,
  rule: string,
  expected: number,
  left: Sized,
  right: Sized,
  actual: number,
): void {
  if (expected !== actual) {
    throw new KvlrError('invalid-argument', {
      message: `${functionName}: expected ${rule}, got ${left.rows}x${left.cols} and ${right.rows}x${right.cols}`,
      data: { left: [left.rows, left.cols], right: [right.rows, right.cols] },
    });
  }
}

/** Throws 'non-finite' with the place of the first NaN or infinity in a row-major array. */
export function requireFinite(functionName: string, data: Float64Array | Float32Array, cols: number): void {
  const index = findNonFinite(data);
  if (index < 0) return;
  const row = Math.floor(index / cols);
  const column = index % cols;
  throw new KvlrError('non-finite', {
    message: `${functionName}: expected finite numbers, got ${data[index]} at row ${row}, column ${column}`,
    hint: 'Look for NaN or infinity in the weights or activations that the matrix was computed from.',
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
