import { KvlrError } from '@kvlr/core';
import { type ComplexMatrix, createComplexMatrix } from '@kvlr/linalg';
import { requireEvenHeads } from './head-rows.ts';

/**
 * Per frequency j the moments of the keys as complex numbers, Gamma_j = E[kappa_j kappa_j^H], [heads, heads] Hermitian, from
 * the real second moment E[k k^T] [heads * headDim, heads * headDim] of keys in half-split layout:
 *
 *     Re Gamma_j[a, b] = E[x_a x_b] + E[y_a y_b],   Im Gamma_j[a, b] = E[y_a x_b] - E[x_a y_b],   kappa = x + i y.
 *
 * An uncentred Gamma_j is the same before and after RoPE, which turns all heads of a token alike. Queries, W W^T of the
 * weights and centred covariances are taken in the same way.
 * Returns headDim / 2 matrices. Throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function complexKeyMoments(keySecondMoment: Float64Array, heads: number, headDim: number): ComplexMatrix[] {
  requireEvenHeads('complexKeyMoments', heads, headDim);
  const width = heads * headDim;
  if (keySecondMoment.length !== width * width) {
    throw new KvlrError('invalid-argument', {
      message: `complexKeyMoments: expected ${width}x${width} numbers for ${heads} heads of width ${headDim}, got ${keySecondMoment.length}`,
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
