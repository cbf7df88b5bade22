import { KvlrError } from '@kvlr/core';

const maximumIterations = 60;

/** Far below the rounding errors of a matrix scaled to 1, far above where squares vanish. */
const negligible = 1e-140;

/**
 * Eigenvalues of a real symmetric tridiagonal matrix scaled to about 1, by implicit QL with Wilkinson's shift (Dubrulle,
 * Martin and Wilkinson, Handbook II/4; LAPACK dsteqr). `diagonal` becomes the eigenvalues, unsorted; `offDiagonal`, where
 * entry i couples i - 1 and i, is destroyed. The plane rotations are applied to the columns of every matrix of `vectors`
 * ([n, n] row-major): real and imaginary part of a complex matrix take the same rotations.
 * Throws KvlrError 'numerical' when an eigenvalue has not converged after 60 sweeps.
 */
export function tridiagonalQl(
  functionName: string,
  diagonal: Float64Array,
  offDiagonal: Float64Array,
  vectors: readonly Float64Array[],
): void {
  const n = diagonal.length;
  offDiagonal.copyWithin(0, 1);
  if (n > 0) offDiagonal[n - 1] = 0;
  const cosines = new Float64Array(n);
  const sines = new Float64Array(n);
  for (let low = 0; low < n; low += 1) {
    for (let iteration = 0; ; iteration += 1) {
      const high = findDecoupled(diagonal, offDiagonal, low);
      if (high === low) break;
      if (iteration === maximumIterations) {
        throw new KvlrError('numerical', {
          message: `${functionName}: expected eigenvalue ${low} of ${n} to converge in ${maximumIterations} sweeps, it did not`,
          data: { eigenvalue: low, size: n },
        });
      }
      const start = sweep(diagonal, offDiagonal, low, high, cosines, sines);
      for (const matrix of vectors) rotateColumns(matrix, n, start, high, cosines, sines);
    }
  }
}

/** The first index from `low` on whose coupling to the next one is negligible. */
function findDecoupled(diagonal: Float64Array, offDiagonal: Float64Array, low: number): number {
  let high = low;
  for (; high < diagonal.length - 1; high += 1) {
    const neighbours = Math.abs(diagonal[high]!) + Math.abs(diagonal[high + 1]!);
    if (Math.abs(offDiagonal[high]!) <= Number.EPSILON * neighbours + negligible) break;
  }
  return high;
}

/** One implicit QL sweep over [low, high]. Returns the lowest column that the rotations touch. */
function sweep(
  diagonal: Float64Array,
  offDiagonal: Float64Array,
  low: number,
  high: number,
  cosines: Float64Array,
  sines: Float64Array,
): number {
  const ratio = (diagonal[low + 1]! - diagonal[low]!) / (2 * offDiagonal[low]!);
  const length = Math.abs(ratio) > 1e100 ? Math.abs(ratio) : Math.sqrt(ratio * ratio + 1);
  let g = diagonal[high]! - diagonal[low]! + offDiagonal[low]! / (ratio + (ratio >= 0 ? length : -length));
  let sine = 1;
  let cosine = 1;
  let shift = 0;
  for (let i = high - 1; i >= low; i -= 1) {
    const f = sine * offDiagonal[i]!;
    const b = cosine * offDiagonal[i]!;
    const radius = Math.sqrt(f * f + g * g);
    offDiagonal[i + 1] = radius;
    if (radius === 0) {
      // The matrix has come apart above i: undo the pending shift and let the caller look for the split.
      diagonal[i + 1]! -= shift;
      offDiagonal[high] = 0;
      return i + 1;
    }
    sine = f / radius;
    cosine = g / radius;
    g = diagonal[i + 1]! - shift;
    const t = (diagonal[i]! - g) * sine + 2 * cosine * b;
    shift = sine * t;
    diagonal[i + 1] = g + shift;
    g = cosine * t - b;
    cosines[i] = cosine;
    sines[i] = sine;
  }
  diagonal[low]! -= shift;
  offDiagonal[low] = g;
  offDiagonal[high] = 0;
  return low;
}

/**
 * Applies a sweep's rotations (column pairs (i, i + 1), i from high - 1 down to low) to every row. A row is read and written
 * once: the entry that the next rotation needs stays in a register. Four rows at a time hide the latency of that chain.
 */
function rotateColumns(
  matrix: Float64Array,
  n: number,
  low: number,
  high: number,
  cosines: Float64Array,
  sines: Float64Array,
): void {
  let row = 0;
  for (; row + 4 <= n; row += 4) {
    const offset0 = row * n;
    const offset1 = offset0 + n;
    const offset2 = offset1 + n;
    const offset3 = offset2 + n;
    let carry0 = matrix[offset0 + high]!;
    let carry1 = matrix[offset1 + high]!;
    let carry2 = matrix[offset2 + high]!;
    let carry3 = matrix[offset3 + high]!;
    for (let i = high - 1; i >= low; i -= 1) {
      const c = cosines[i]!;
      const s = sines[i]!;
      const x0 = matrix[offset0 + i]!;
      matrix[offset0 + i + 1] = s * x0 + c * carry0;
      carry0 = c * x0 - s * carry0;
      const x1 = matrix[offset1 + i]!;
      matrix[offset1 + i + 1] = s * x1 + c * carry1;
      carry1 = c * x1 - s * carry1;
      const x2 = matrix[offset2 + i]!;
      matrix[offset2 + i + 1] = s * x2 + c * carry2;
      carry2 = c * x2 - s * carry2;
      const x3 = matrix[offset3 + i]!;
      matrix[offset3 + i + 1] = s * x3 + c * carry3;
      carry3 = c * x3 - s * carry3;
    }
    matrix[offset0 + low] = carry0;
    matrix[offset1 + low] = carry1;
    matrix[offset2 + low] = carry2;
    matrix[offset3 + low] = carry3;
  }
  for (; row < n; row += 1) {
    const offset = row * n;
    let carry = matrix[offset + high]!;
    for (let i = high - 1; i >= low; i -= 1) {
      const x = matrix[offset + i]!;
      matrix[offset + i + 1] = sines[i]! * x + cosines[i]! * carry;
      carry = cosines[i]! * x - sines[i]! * carry;
    }
    matrix[offset + low] = carry;
  }
}
