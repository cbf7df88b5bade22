import { KvlrError } from '@kvlr/core';
import { type ComplexMatrix, createComplexMatrix } from '@kvlr/linalg';
import { type HeadRowsShape, requireEvenHeads, requireHeadRows } from './rotate.ts';

/**
 * Heads as complex numbers per frequency: kappa_j = x[j] + i x[j + headDim / 2], which RoPE multiplies by
 * exp(i n theta_j). `rows` is [tokens, heads * headDim]; the result [tokens, heads * headDim / 2], column
 * h * headDim / 2 + j for head h and frequency j. Throws KvlrError 'invalid-argument'.
 */
export function toComplexHeads(rows: Float32Array | Float64Array, shape: HeadRowsShape): ComplexMatrix {
  requireHeadRows(shape, rows.length);
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
      message: `expected an even headDim whose half divides ${complex.cols} columns, got ${headDim}`,
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

/**
 * Per frequency j the moments of the keys as complex numbers, Gamma_j = E[kappa_j kappa_j^H], [heads, heads] Hermitian, from
 * the real second moment E[k k^T] [heads * headDim, heads * headDim] of keys in half-split layout:
 *
 *     Re Gamma_j[a, b] = E[x_a x_b] + E[y_a y_b],   Im Gamma_j[a, b] = E[y_a x_b] - E[x_a y_b],   kappa = x + i y.
 *
 * An uncentred Gamma_j is the same before and after RoPE, which rotates all heads of a token alike. Queries, W W^T of the
 * weights and centred covariances are taken in the same way.
 * Returns headDim / 2 matrices. Throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function complexKeyMoments(keySecondMoment: Float64Array, heads: number, headDim: number): ComplexMatrix[] {
  requireEvenHeads(heads, headDim);
  const width = heads * headDim;
  if (keySecondMoment.length !== width * width) {
    throw new KvlrError('invalid-argument', {
      message: `expected ${width}x${width} numbers for ${heads} heads of width ${headDim}, got ${keySecondMoment.length}`,
      data: { heads, headDim, length: keySecondMoment.length },
    });
  }
  const pairs = headDim / 2;
  return Array.from({ length: pairs }, (_, j) => {
    const moment = createComplexMatrix(heads, heads);
    for (let a = 0; a < heads; a += 1) {
      const x = (a * headDim + j) * width;
      const y = x + pairs * width;
      for (let b = 0; b < heads; b += 1) {
        const column = b * headDim + j;
        moment.real[a * heads + b] = keySecondMoment[x + column]! + keySecondMoment[y + column + pairs]!;
        moment.imag[a * heads + b] = keySecondMoment[y + column]! - keySecondMoment[x + column + pairs]!;
      }
    }
    return moment;
  });
}
