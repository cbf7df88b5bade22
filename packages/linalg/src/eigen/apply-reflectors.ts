import type { Matrix } from '../matrix.ts';
import { createMatrix } from '../matrix.ts';
import { addProduct } from '../product/add-product.ts';
import { multiply } from '../product/multiply.ts';
import { multiplyTransposed } from '../product/multiply-transposed.ts';
import type { Tridiagonalised } from './tridiagonalise-symmetric.ts';

const blockWidth = 32;

/** Up to this size a block is not worth its preparation. */
const largestUnblocked = 32;

/**
 * Turns eigenvectors of the tridiagonal matrix, the rows of `rows`, into eigenvectors of the matrix it came from: every row
 * x becomes Q x with Q = P_{n-1} ... P_2. Reflectors are gathered by 32 into I - V^T T V (Schreiber and Van Loan, SIAM J.
 * Sci. Stat. Comput. 10, 1989; LAPACK dlarft), so that the work is matrix products.
 */
export function applyReflectors(reduction: Tridiagonalised, rows: Matrix): void {
  const n = rows.cols;
  if (n <= largestUnblocked) {
    applyOneByOne(reduction, rows);
    return;
  }
  for (let first = 2; first < n; first += blockWidth) {
    const count = Math.min(blockWidth, n - first);
    const size = first + count - 1;
    const vectors = createMatrix(count, size);
    for (let index = 0; index < count; index += 1) {
      const source = (first + index) * n;
      vectors.data.set(reduction.reflectors.subarray(source, source + first + index), index * size);
    }
    const factor = multiply(blockFactor(vectors, reduction.halfNorms.subarray(first, first + count)), vectors);
    const left = { data: rows.data, count: rows.rows, vectorStride: n, entryStride: 1 };
    const overlaps = createMatrix(rows.rows, count);
    addProduct(left, { data: vectors.data, count, vectorStride: size, entryStride: 1 }, size, overlaps.data, count);
    addProduct(
      { data: overlaps.data, count: rows.rows, vectorStride: count, entryStride: 1 },
      { data: factor.data, count: size, vectorStride: 1, entryStride: size },
      count,
      rows.data,
      n,
    );
  }
}

/** Three rows at a time, so that their sums need not wait for each other; what is missing to three is a row twice. */
function applyOneByOne({ reflectors, halfNorms }: Tridiagonalised, { rows, cols, data }: Matrix): void {
  const last = (rows - 1) * cols;
  for (let i = 2; i < cols; i += 1) {
    const source = i * cols;
    const scale = 1 / halfNorms[i]!;
    for (let row0 = 0; row0 <= last; row0 += 3 * cols) {
      const row1 = Math.min(row0 + cols, last);
      const row2 = Math.min(row1 + cols, last);
      let sum0 = 0;
      let sum1 = 0;
      let sum2 = 0;
      for (let k = 0; k < i; k += 1) {
        const entry = reflectors[source + k]!;
        sum0 += data[row0 + k]! * entry;
        sum1 += data[row1 + k]! * entry;
        sum2 += data[row2 + k]! * entry;
      }
      sum0 *= scale;
      sum1 *= scale;
      sum2 *= scale;
      for (let k = 0; k < i; k += 1) {
        const entry = reflectors[source + k]!;
        const x0 = data[row0 + k]! - sum0 * entry;
        const x1 = data[row1 + k]! - sum1 * entry;
        const x2 = data[row2 + k]! - sum2 * entry;
        data[row0 + k] = x0;
        data[row1 + k] = x1;
        data[row2 + k] = x2;
      }
    }
  }
}

/** The upper triangular -T with P_first P_{first+1} ... = I - V^T T V for the reflectors I - v v^T / halfNorm, v in rows. */
function blockFactor(vectors: Matrix, halfNorms: Float64Array): Matrix {
  const count = vectors.rows;
  const overlaps = multiplyTransposed(vectors, vectors).data;
  const factor = createMatrix(count, count);
  for (let col = 0; col < count; col += 1) {
    const scale = 1 / halfNorms[col]!;
    factor.data[col * count + col] = -scale;
    for (let row = 0; row < col; row += 1) {
      let sum = 0;
      for (let k = row; k < col; k += 1) sum += factor.data[row * count + k]! * overlaps[k * count + col]!;
      factor.data[row * count + col] = -scale * sum;
    }
  }
  return factor;
}
