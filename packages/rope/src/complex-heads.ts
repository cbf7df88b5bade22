import { KvlrError } from '@kvlr/core';
import { type ComplexMatrix, createComplexMatrix } from '@kvlr/linalg';
import { type HeadRowsShape, requireHeadRows } from './head-rows.ts';

/**
 * Heads as complex numbers per frequency: kappa_j = x[j] + i x[j + headDim / 2], which RoPE multiplies by
 * exp(i n theta_j). `rows` is [tokens, heads * headDim]; the result [tokens, heads * headDim / 2], column
 * h * headDim / 2 + j for head h and frequency j. Throws KvlrError 'invalid-argument'.
 */
export function toComplexHeads(rows: Float32Array | Float64Array, shape: HeadRowsShape): ComplexMatrix {
  requireHeadRows('toComplexHeads', shape, rows.length);
  const pairs = shape.headDim / 2;
  const result = createComplexMatrix(shape.tokens, shape.heads * pairs);
  for (let head = 0; head < shape.tokens * shape.heads; head += 1) {
    for (let j = 0; j < pairs; j += 1) {
      result.real[head * pairs + j] = rows[head * shape.headDim + j]!;
      result.imag[head * pairs + j] = rows[head * shape.headDim + pairs + j]!;
    }
  }
  return result;
}

/** The inverse of `toComplexHeads`: [tokens, heads * headDim], half-split. Throws KvlrError 'invalid-argument'. */
export function fromComplexHeads(complex: ComplexMatrix, headDim: number): Float64Array {
  const pairs = headDim / 2;
  if (!Number.isInteger(pairs) || pairs < 1 || complex.cols % pairs !== 0) {
    throw new KvlrError('invalid-argument', {
      message: `fromComplexHeads: expected an even headDim whose half divides ${complex.cols} columns, got ${headDim}`,
      data: { headDim, cols: complex.cols },
    });
  }
  const result = new Float64Array(2 * complex.rows * complex.cols);
  for (let head = 0; head < (complex.rows * complex.cols) / pairs; head += 1) {
    for (let j = 0; j < pairs; j += 1) {
      result[head * headDim + j] = complex.real[head * pairs + j]!;
      result[head * headDim + pairs + j] = complex.imag[head * pairs + j]!;
    }
  }
  return result;
}
