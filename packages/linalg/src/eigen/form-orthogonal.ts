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
  const [h0, h1, h2, h3] = inverseHalfNorms as unknown as [number, number, number, number];
  const o10 = overlaps[width]!;
  const o20 = overlaps[2 * width]!;
  const o21 = overlaps[2 * width + 1]!;
  const o30 = overlaps[3 * width]!;
  const o31 = overlaps[3 * width + 1]!;
  const o32 = overlaps[3 * width + 2]!;
  for (let row = 0; row < size; row += 1) {
    const offset = row * n;
    let d0 = 0;
    let d1 = 0;
    let d2 = 0;
    let d3 = 0;
    for (let k = 0; k < size; k += 1) {
      const x = rows[offset + k]!;
      d0 += x * vectors[k]!;
      d1 += x * vectors[n + k]!;
      d2 += x * vectors[2 * n + k]!;
      d3 += x * vectors[3 * n + k]!;
    }
    d0 *= h0;
    d1 = (d1 - d0 * o10) * h1;
    d2 = (d2 - d0 * o20 - d1 * o21) * h2;
    d3 = (d3 - d0 * o30 - d1 * o31 - d2 * o32) * h3;
    for (let k = 0; k < size; k += 1) {
      rows[offset + k]! -=
        d0 * vectors[k]! + d1 * vectors[n + k]! + d2 * vectors[2 * n + k]! + d3 * vectors[3 * n + k]!;
    }
  }
}
