import { negligibleSquare, powerOfTwoScale, requireFinite } from './input.ts';
import { createMatrix, type Matrix, transpose } from './matrix.ts';

/** A = Q R. */
export interface QrFactors {
  /** [m, min(m, n)], orthonormal columns, also where A is rank deficient. */
  q: Matrix;
  /** [min(m, n), n], upper triangular (trapezoidal when m < n), diagonal >= 0. */
  r: Matrix;
}

/**
 * Thin QR decomposition of an m x n matrix by Householder reflections (Golub and Van Loan, Matrix Computations, 5.2).
 * Throws KvlrError 'non-finite'.
 */
export function qr(a: Matrix): QrFactors {
  requireFinite(a.data, a.cols);
  const scale = powerOfTwoScale(a.data);
  const factored = factorHouseholder(a, scale, false);
  const size = Math.min(a.rows, a.cols);
  const q = formThinQ(factored, a.rows, size);
  const r = createMatrix(size, a.cols);
  for (let i = 0; i < size; i += 1) {
    const sign = factored.diagonal[i]! < 0 ? -1 : 1;
    r.data[i * a.cols + i] = Math.abs(factored.diagonal[i]!) / scale;
    for (let j = i + 1; j < a.cols; j += 1) {
      r.data[i * a.cols + j] = (sign * factored.columns[j * a.rows + i]!) / scale;
    }
    if (sign < 0) for (let row = 0; row < a.rows; row += 1) q.data[row * size + i]! *= -1;
  }
  return { q, r };
}

/** A Householder QR factorisation in its compact form. */
interface HouseholderFactors {
  /**
   * The factored matrix transposed, so that its columns are contiguous: entry (i, j) is columns[j * rows + i]. Above the
   * diagonal lies R; on and below it column k holds the vector of reflector k, I - v v^T / halfNorms[k].
   */
  columns: Float64Array;
  /** Diagonal of R. */
  diagonal: Float64Array;
  /** 0 where the column was (nearly) zero already and there is nothing to reflect. */
  halfNorms: Float64Array;
  /** Column j of the factored matrix is column order[j] of the input. */
  order: Uint32Array;
}

/**
 * Householder QR of scale * a, [m, n]. With pivoting the column of largest remaining norm comes first (Businger and Golub,
 * 1965), which makes the diagonal of R fall and separates large from small directions; the norms are computed anew at
 * every step because downdated ones lose their digits.
 */
export function factorHouseholder(a: Matrix, scale: number, pivoting: boolean): HouseholderFactors {
  const { rows, cols } = a;
  const columns = transpose(a).data;
  for (let index = 0; index < columns.length; index += 1) columns[index]! *= scale;
  const size = Math.min(rows, cols);
  const diagonal = new Float64Array(size);
  const halfNorms = new Float64Array(size);
  const order = Uint32Array.from({ length: cols }, (_, index) => index);
  for (let k = 0; k < size; k += 1) {
    if (pivoting) bringLargestForward(columns, rows, cols, k, order);
    const start = k * rows + k;
    const end = (k + 1) * rows;
    let rest = 0;
    for (let index = start + 1; index < end; index += 1) rest += columns[index]! * columns[index]!;
    const first = columns[start]!;
    if (rest < negligibleSquare) {
      diagonal[k] = first;
      continue;
    }
    const norm = Math.sqrt(rest + first * first);
    const target = first > 0 ? -norm : norm;
    diagonal[k] = target;
    columns[start] = first - target;
    const halfNorm = rest + first * first - first * target;
    halfNorms[k] = halfNorm;
    for (let j = k + 1; j < cols; j += 1) reflect(columns, start, columns, j * rows + k, rows - k, halfNorm);
  }
  return { columns, diagonal, halfNorms, order };
}

/** The first `size` columns of the orthogonal factor, [rows, size]. */
export function formThinQ(factors: HouseholderFactors, rows: number, size: number): Matrix {
  const transposed = createMatrix(size, rows);
  for (let i = 0; i < size; i += 1) transposed.data[i * rows + i] = 1;
  for (let k = size - 1; k >= 0; k -= 1) {
    const halfNorm = factors.halfNorms[k]!;
    if (halfNorm === 0) continue;
    for (let j = k; j < size; j += 1) {
      reflect(factors.columns, k * rows + k, transposed.data, j * rows + k, rows - k, halfNorm);
    }
  }
  return transpose(transposed);
}

function reflect(
  vectors: Float64Array,
  vectorOffset: number,
  target: Float64Array,
  targetOffset: number,
  length: number,
  halfNorm: number,
): void {
  let sum0 = 0;
  let sum1 = 0;
  let k = 0;
  for (; k + 2 <= length; k += 2) {
    sum0 += vectors[vectorOffset + k]! * target[targetOffset + k]!;
    sum1 += vectors[vectorOffset + k + 1]! * target[targetOffset + k + 1]!;
  }
  if (k < length) sum0 += vectors[vectorOffset + k]! * target[targetOffset + k]!;
  const factor = (sum0 + sum1) / halfNorm;
  for (k = 0; k < length; k += 1) target[targetOffset + k]! -= factor * vectors[vectorOffset + k]!;
}

function bringLargestForward(columns: Float64Array, rows: number, cols: number, k: number, order: Uint32Array): void {
  let largest = -1;
  let chosen = k;
  for (let j = k; j < cols; j += 1) {
    let squared = 0;
    for (let index = j * rows + k; index < (j + 1) * rows; index += 1) squared += columns[index]! * columns[index]!;
    if (squared > largest) {
      largest = squared;
      chosen = j;
    }
  }
  if (chosen === k) return;
  [order[k], order[chosen]] = [order[chosen]!, order[k]!];
  for (let index = 0; index < rows; index += 1) {
    const kept = columns[k * rows + index]!;
    columns[k * rows + index] = columns[chosen * rows + index]!;
    columns[chosen * rows + index] = kept;
  }
}
