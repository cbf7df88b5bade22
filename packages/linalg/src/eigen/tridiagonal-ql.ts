import { KvlrError } from '@kvlr/core';
import { negligible } from '../input.ts';

const maximumSweeps = 60;

/** A real symmetric tridiagonal matrix; coupling[i] joins i and i + 1. */
interface Tridiagonal {
  diagonal: Float64Array;
  coupling: Float64Array;
}

/**
 * Eigenvalues of a real symmetric tridiagonal matrix scaled to about 1, by implicit QL or QR with Wilkinson's shift
 * (Dubrulle, Martin and Wilkinson, Handbook II/4; LAPACK dsteqr). `diagonal` becomes the eigenvalues, unsorted;
 * `offDiagonal`, where entry i couples i - 1 and i, is destroyed. The rotations are applied to the columns of every matrix
 * of `vectors` ([n, n] row-major): real and imaginary part of a complex matrix take the same rotations.
 * Throws KvlrError 'numerical' when an eigenvalue has not converged after 60 sweeps.
 */
export function tridiagonalQl(
  diagonal: Float64Array,
  offDiagonal: Float64Array,
  vectors: readonly Float64Array[],
): void {
  const n = diagonal.length;
  const coupling = offDiagonal;
  coupling.copyWithin(0, 1);
  if (n > 0) coupling[n - 1] = 0;
  const matrix = { diagonal, coupling };
  const rotations = { cosines: new Float64Array(n), sines: new Float64Array(n) };
  for (let start = 0; start < n; ) {
    const end = cutBlock(matrix, start);
    diagonaliseBlock(matrix, start, end, rotations, vectors);
    start = end + 1;
  }
}

/** The end of the block that starts here: the next coupling that is negligible beside its own neighbours is cut. */
function cutBlock({ diagonal, coupling }: Tridiagonal, start: number): number {
  let end = start;
  while (end < diagonal.length - 1 && !isNegligibleCoupling(coupling[end]!, diagonal[end]!, diagonal[end + 1]!))
    end += 1;
  coupling[end] = 0;
  return end;
}

/**
 * Eigenvalues converge one after the other at the end of the block with the smaller entry: a sweep must start from the
 * larger end, or on graded matrices it loses the shift to rounding. Couplings below the rounding errors of the block's
 * largest entry are cut: asking for more would stall, because every sweep brings errors of that size with it.
 */
function diagonaliseBlock(
  matrix: Tridiagonal,
  start: number,
  end: number,
  rotations: Rotations,
  vectors: readonly Float64Array[],
): void {
  const { diagonal, coupling } = matrix;
  let largest = 0;
  for (let i = start; i <= end; i += 1) largest = Math.max(largest, Math.abs(diagonal[i]!) + Math.abs(coupling[i]!));
  const threshold = Number.EPSILON * largest + negligible;
  const upwards = Math.abs(diagonal[end]!) < Math.abs(diagonal[start]!);
  const last = upwards ? start : end;
  const step = upwards ? -1 : 1;
  for (let near = upwards ? end : start; near !== last; near += step) {
    for (let sweeps = 0; ; sweeps += 1) {
      const far = splitOff(coupling, near, last, threshold);
      if (far === near) break;
      if (sweeps === maximumSweeps) {
        throw new KvlrError('numerical', {
          message: `expected eigenvalue ${near} of ${diagonal.length} to converge in ${maximumSweeps} sweeps, it did not`,
          data: { eigenvalue: near, size: diagonal.length },
        });
      }
      const reached = sweep(matrix, far, near, rotations);
      for (const data of vectors) rotateColumns(data, diagonal.length, far, reached, rotations);
    }
  }
}

/** The first index on the way from `near` to `last` whose coupling to the next is below the threshold; cuts it. */
function splitOff(coupling: Float64Array, near: number, last: number, threshold: number): number {
  const step = last < near ? -1 : 1;
  const before = step < 0 ? -1 : 0;
  for (let i = near; i !== last; i += step) {
    if (Math.abs(coupling[i + before]!) <= threshold) {
      coupling[i + before] = 0;
      return i;
    }
  }
  return last;
}

/**
 * One implicit sweep from `far` to `near`, shifted towards an eigenvalue of the two last rows at `near`.
 * Rotation k mixes the columns (far + k * step, far + (k + 1) * step). Returns the last column rotated.
 */
function sweep(matrix: Tridiagonal, far: number, near: number, rotations: Rotations): number {
  const { diagonal, coupling } = matrix;
  const { cosines, sines } = rotations;
  const step = near < far ? -1 : 1;
  // Column i is joined to the one before it on the way by coupling[i + before].
  const before = step < 0 ? 0 : -1;
  const nearCoupling = coupling[near + before]!;
  const ratio = (diagonal[near - step]! - diagonal[near]!) / (2 * nearCoupling);
  const length = Math.abs(ratio) > 1e100 ? Math.abs(ratio) : Math.sqrt(ratio * ratio + 1);
  let g = diagonal[far]! - diagonal[near]! + nearCoupling / (ratio + (ratio >= 0 ? length : -length));
  let sine = 1;
  let cosine = 1;
  let shift = 0;
  for (let i = far + step, k = 0; i !== near + step; i += step, k += 1) {
    const previous = i - step;
    const f = sine * coupling[i + before]!;
    const b = cosine * coupling[i + before]!;
    const radius = Math.sqrt(f * f + g * g);
    if (previous !== far) coupling[previous + before] = radius;
    if (radius === 0) {
      // The matrix has come apart here: undo the pending shift and let the caller look for the split.
      diagonal[previous]! -= shift;
      return previous;
    }
    sine = f / radius;
    cosine = g / radius;
    g = diagonal[previous]! - shift;
    const t = (diagonal[i]! - g) * sine + 2 * cosine * b;
    shift = sine * t;
    diagonal[previous] = g + shift;
    g = cosine * t - b;
    cosines[k] = cosine;
    sines[k] = sine;
  }
  diagonal[near]! -= shift;
  coupling[near + before] = g;
  return near;
}

/** The plane rotations of one sweep, in the order in which they are applied. */
interface Rotations {
  cosines: Float64Array;
  sines: Float64Array;
}

/**
 * Applies a sweep's rotations to the columns of an [n, n] row-major matrix. Rotation k mixes the k-th and the next column on
 * the way from column `from` to column `to`, upwards or downwards. A row is read and written once: the entry that the next
 * rotation needs stays in a register. Four rows at a time hide the latency of that chain.
 */
function rotateColumns(data: Float64Array, n: number, from: number, to: number, rotations: Rotations): void {
  const { cosines, sines } = rotations;
  const step = to < from ? -1 : 1;
  const count = Math.abs(to - from);
  let row = 0;
  for (; row + 4 <= n; row += 4) {
    let index0 = row * n + from;
    let index1 = index0 + n;
    let index2 = index1 + n;
    let index3 = index2 + n;
    let carry0 = data[index0]!;
    let carry1 = data[index1]!;
    let carry2 = data[index2]!;
    let carry3 = data[index3]!;
    for (let k = 0; k < count; k += 1) {
      const c = cosines[k]!;
      const s = sines[k]!;
      const x0 = data[index0 + step]!;
      data[index0] = s * x0 + c * carry0;
      carry0 = c * x0 - s * carry0;
      index0 += step;
      const x1 = data[index1 + step]!;
      data[index1] = s * x1 + c * carry1;
      carry1 = c * x1 - s * carry1;
      index1 += step;
      const x2 = data[index2 + step]!;
      data[index2] = s * x2 + c * carry2;
      carry2 = c * x2 - s * carry2;
      index2 += step;
      const x3 = data[index3 + step]!;
      data[index3] = s * x3 + c * carry3;
      carry3 = c * x3 - s * carry3;
      index3 += step;
    }
    data[index0] = carry0;
    data[index1] = carry1;
    data[index2] = carry2;
    data[index3] = carry3;
  }
  for (; row < n; row += 1) {
    let index = row * n + from;
    let carry = data[index]!;
    for (let k = 0; k < count; k += 1) {
      const x = data[index + step]!;
      data[index] = sines[k]! * x + cosines[k]! * carry;
      carry = cosines[k]! * x - sines[k]! * carry;
      index += step;
    }
    data[index] = carry;
  }
}

/** Whether two neighbours on the diagonal of a tridiagonal matrix hang together by no more than their own rounding errors. */
export function isNegligibleCoupling(coupling: number, before: number, after: number): boolean {
  return Math.abs(coupling) <= Number.EPSILON * (Math.abs(before) + Math.abs(after)) + negligible;
}
