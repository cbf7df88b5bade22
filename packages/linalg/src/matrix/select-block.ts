import { KvlrError } from '@kvlr/core';
import { createMatrix } from './create-matrix.ts';
import type { Matrix } from './matrix.ts';

/**
 * The block of `a` at these rows and columns, in the given order (an index may come twice).
 * Throws KvlrError 'invalid-argument' when an index lies outside the matrix.
 */
export function selectBlock(a: Matrix, rowIndices: ArrayLike<number>, colIndices: ArrayLike<number>): Matrix {
  requireIndices('row', rowIndices, a.rows);
  requireIndices('column', colIndices, a.cols);
  const result = createMatrix(rowIndices.length, colIndices.length);
  for (let i = 0; i < rowIndices.length; i += 1) {
    const source = rowIndices[i]! * a.cols;
    const target = i * colIndices.length;
    for (let j = 0; j < colIndices.length; j += 1) result.data[target + j] = a.data[source + colIndices[j]!]!;
  }
  return result;
}

function requireIndices(kind: string, indices: ArrayLike<number>, size: number): void {
  for (let i = 0; i < indices.length; i += 1) {
    const index = indices[i]!;
    if (!Number.isInteger(index) || index < 0 || index >= size) {
      throw new KvlrError('invalid-argument', {
        message: `selectBlock: expected ${kind} indices from 0 to ${size - 1}, got ${index} at place ${i}`,
        data: { kind, index, size },
      });
    }
  }
}
