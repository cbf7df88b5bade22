import { createMatrix } from '../matrix/create-matrix.ts';
import { identity } from '../matrix/identity.ts';
import type { Matrix } from '../matrix/matrix.ts';
import { transpose } from '../matrix/transpose.ts';
import type { Tridiagonalised } from './tridiagonalise-symmetric.ts';

const width = 4;

/**
 * Q = P_{n-1} ... P_2 of a tridiagonalisation. Works on the rows of Q^T, to which the reflectors apply from the right, four
 * at a time: the four dot products of a row are taken at once and corrected by the vectors' own dot products.
 */
export function formOrthogonal(reduction: Tridiagonalised, n: number): Matrix {
  const { reflectors, halfNorms } = reduction;
  const transposed = identity(n);
  const vectors = createMatrix(width, n).data;
  const inverseHalfNorms = new Float64Array(width);
  const overlaps = new Float64Array(width * width);
  for (let first = 2; first < n; first += width) {
    const size = Math.min(n, first + width - 1);
    vectors.fill(0);
    for (let index = 0; index < width; index += 1) {
      const source = first + index;
      inverseHalfNorms[index] = source < n ? 1 / halfNorms[source]! : 0;
      if (source < n) vectors.set(reflectors.subarray(source * n, source * n + source), index * n);
    }
    for (let later = 1; later < width; later += 1) {
      for (let earlier = 0; earlier < later; earlier += 1) {
        let sum = 0;
        for (let k = 0; k < size; k += 1) sum += vectors[earlier * n + k]! * vectors[later * n + k]!;
        overlaps[later * width + earlier] = sum;
      }
    }
    applyFour(transposed.data, n, size, vectors, inverseHalfNorms, overlaps);
  }
  return transpose(transposed);
}

function applyFour(
  rows: Float64Array,
  n: number,
  size: number,
  vectors: Float64Array,
  inverseHalfNorms: Float64Array,
  overlaps: Float64Array,
): void {
  const h0 = inverseHalfNorms[0]!;
  const h1 = inverseHalfNorms[1]!;
  const h2 = inverseHalfNorms[2]!;
  const h3 = inverseHalfNorms[3]!;
  const o10 = overlaps[width]!;
  const o20 = overlaps[2 * width]!;
  const o21 = overlaps[2 * width + 1]!;
  const o30 = overlaps[3 * width]!;
  const o31 = overlaps[3 * width + 1]!;
  const o32 = overlaps[3 * width + 2]!;
  for (let row = 0; row < size; row += 2) {
    const a = row * n;
    // Where the number of rows is odd the last one keeps itself company; both halves then compute and write the same.
    const b = row + 1 < size ? a + n : a;
    let a0 = 0;
    let a1 = 0;
    let a2 = 0;
    let a3 = 0;
    let b0 = 0;
    let b1 = 0;
    let b2 = 0;
    let b3 = 0;
    for (let k = 0; k < size; k += 1) {
      const x = rows[a + k]!;
      const y = rows[b + k]!;
      const v0 = vectors[k]!;
      a0 += x * v0;
      b0 += y * v0;
      const v1 = vectors[n + k]!;
      a1 += x * v1;
      b1 += y * v1;
      const v2 = vectors[2 * n + k]!;
      a2 += x * v2;
      b2 += y * v2;
      const v3 = vectors[3 * n + k]!;
      a3 += x * v3;
      b3 += y * v3;
    }
    a0 *= h0;
    a1 = (a1 - a0 * o10) * h1;
    a2 = (a2 - a0 * o20 - a1 * o21) * h2;
    a3 = (a3 - a0 * o30 - a1 * o31 - a2 * o32) * h3;
    b0 *= h0;
    b1 = (b1 - b0 * o10) * h1;
    b2 = (b2 - b0 * o20 - b1 * o21) * h2;
    b3 = (b3 - b0 * o30 - b1 * o31 - b2 * o32) * h3;
    for (let k = 0; k < size; k += 1) {
      const v0 = vectors[k]!;
      const v1 = vectors[n + k]!;
      const v2 = vectors[2 * n + k]!;
      const v3 = vectors[3 * n + k]!;
      const x = rows[a + k]! - (a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3);
      const y = rows[b + k]! - (b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3);
      rows[a + k] = x;
      rows[b + k] = y;
    }
  }
}
