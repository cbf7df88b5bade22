import { addProduct } from '../matrix/add-product.ts';
import { createMatrix } from '../matrix/create-matrix.ts';
import type { Matrix } from '../matrix/matrix.ts';
import { multiply } from '../matrix/multiply.ts';
import { multiplyTransposed } from '../matrix/multiply-transposed.ts';
import type { Tridiagonalised } from './tridiagonalise-symmetric.ts';

const blockWidth = 32;

/**
 * Turns eigenvectors of the tridiagonal matrix, the rows of `rows`, into eigenvectors of the matrix it came from: every row
 * x becomes Q x with Q = P_{n-1} ... P_2. Reflectors are gathered by 32 into I - V^T T V (Schreiber and Van Loan, SIAM J.
 * Sci. Stat. Comput. 10, 1989; LAPACK dlarft), so that the work is matrix products.
 */
export function applyReflectors(reduction: Tridiagonalised, rows: Matrix): void {
  const n = rows.cols;
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
