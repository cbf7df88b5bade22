import { negligibleSquare } from '../input.ts';
import { createMatrix, type Matrix } from '../matrix.ts';
import { addProduct, multiply, multiplyTransposed } from '../product/multiply.ts';

/** A symmetric tridiagonal matrix similar to the input, and the Householder vectors that led there. */
interface Tridiagonalised {
  diagonal: Float64Array;
  /** offDiagonal[i] couples i - 1 and i; offDiagonal[0] is 0. */
  offDiagonal: Float64Array;
  /** Row i holds, in its first i entries, the vector v_i of the reflector P_i = I - v_i v_i^T / halfNorm[i]. */
  reflectors: Float64Array;
  /** Half the squared norm of v_i; 1 where v_i is zero. */
  halfNorms: Float64Array;
}

/**
 * Householder reduction of a symmetric n x n matrix to tridiagonal form, from the last row upwards (Wilkinson and Reinsch,
 * Handbook II/2, tred2). Only the lower triangle is read; the array is overwritten. Each step's rank-two update is put off
 * to the next step's matrix-vector product, so that the matrix passes through the cache once a step instead of twice.
 * A = Q T Q^T with Q = P_{n-1} ... P_2.
 */
export function tridiagonaliseSymmetric(a: Float64Array, n: number): Tridiagonalised {
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(n);
  const halfNorms = new Float64Array(n).fill(1);
  const u = new Float64Array(n);
  const q = new Float64Array(n);
  const v = new Float64Array(n);
  const product = new Float64Array(n);
  for (let i = n - 1; i > 0; i -= 1) {
    const row = i * n;
    for (let k = 0; k <= i; k += 1) a[row + k]! -= u[i]! * q[k]! + q[i]! * u[k]!;
    diagonal[i] = a[row + i]!;
    let rest = 0;
    for (let k = 0; k < i - 1; k += 1) rest += a[row + k]! * a[row + k]!;
    const last = a[row + i - 1]!;
    if (rest < negligibleSquare) {
      offDiagonal[i] = last;
      a.fill(0, row, row + i);
    } else {
      const norm = Math.sqrt(rest + last * last);
      const target = last > 0 ? -norm : norm;
      offDiagonal[i] = target;
      halfNorms[i] = rest + last * last - last * target;
      a[row + i - 1] = last - target;
    }
    for (let k = 0; k < i; k += 1) v[k] = a[row + k]!;
    updateAndMultiply(a, n, i, u, q, v, product);
    const scale = 1 / halfNorms[i]!;
    let projection = 0;
    for (let k = 0; k < i; k += 1) projection += v[k]! * product[k]!;
    projection *= 0.5 * scale;
    for (let k = 0; k < i; k += 1) {
      u[k] = v[k]!;
      q[k] = (product[k]! - projection * v[k]!) * scale;
    }
  }
  if (n > 0) diagonal[0] = a[0]!;
  return { diagonal, offDiagonal, reflectors: a, halfNorms };
}

/** Leading size x size block, lower triangle: a -= u q^T + q u^T, then product = a v. */
function updateAndMultiply(
  a: Float64Array,
  n: number,
  size: number,
  u: Float64Array,
  q: Float64Array,
  v: Float64Array,
  product: Float64Array,
): void {
  let row = 0;
  if (size % 2 === 1) {
    a[0]! -= 2 * u[0]! * q[0]!;
    product[0] = a[0]! * v[0]!;
    row = 1;
  }
  for (; row < size; row += 2) {
    const upper = row * n;
    const lower = upper + n;
    const u0 = u[row]!;
    const q0 = q[row]!;
    const v0 = v[row]!;
    const u1 = u[row + 1]!;
    const q1 = q[row + 1]!;
    const v1 = v[row + 1]!;
    let sum0 = 0;
    let sum1 = 0;
    for (let k = 0; k < row; k += 1) {
      const uk = u[k]!;
      const qk = q[k]!;
      const vk = v[k]!;
      const x = a[upper + k]! - u0 * qk - q0 * uk;
      const y = a[lower + k]! - u1 * qk - q1 * uk;
      a[upper + k] = x;
      a[lower + k] = y;
      sum0 += x * vk;
      sum1 += y * vk;
      product[k]! += x * v0 + y * v1;
    }
    const x = a[upper + row]! - 2 * u0 * q0;
    const y = a[lower + row]! - u1 * q0 - q1 * u0;
    const z = a[lower + row + 1]! - 2 * u1 * q1;
    a[upper + row] = x;
    a[lower + row] = y;
    a[lower + row + 1] = z;
    product[row] = sum0 + x * v0 + y * v1;
    product[row + 1] = sum1 + y * v0 + z * v1;
  }
}

const blockWidth = 32;

/** Up to this size a block is not worth its preparation. */
const largestUnblocked = 32;

/**
 * Transforms eigenvectors of the tridiagonal matrix, the rows of `rows`, into eigenvectors of the matrix it came from: every row
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
