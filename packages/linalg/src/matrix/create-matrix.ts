import { KvlrError } from '@kvlr/core';
import type { Matrix } from './matrix.ts';
import { requireCount } from './require.ts';

/**
 * A rows x cols matrix over `data` (row-major, taken as it is, not copied), or of zeros when `data` is left out.
 * Throws KvlrError 'invalid-argument' when the sizes are not whole numbers or the length of `data` does not fit them.
 */
export function createMatrix(rows: number, cols: number, data?: Float64Array): Matrix {
  requireCount('createMatrix', 'rows', rows);
  requireCount('createMatrix', 'cols', cols);
  if (data !== undefined && data.length !== rows * cols) {
    throw new KvlrError('invalid-argument', {
      message: `createMatrix: expected ${rows * cols} numbers for ${rows}x${cols}, got ${data.length}`,
      hint: 'Pass the whole matrix, row after row.',
      data: { rows, cols, length: data.length },
    });
  }
  return { rows, cols, data: data ?? new Float64Array(rows * cols) };
}
