import { KvlrError } from '@kvlr/core';
import { descendingOrder } from './eigen/column-order.ts';
import { eigSymmetric } from './eigen/symmetric.ts';
import { negligible, negligibleSquare, powerOfTwoScale, requireEqualSizes, requireFinite } from './input.ts';
import { createMatrix, identity, type Matrix, transpose } from './matrix.ts';
import { dot, multiply, multiplyTransposed } from './product/multiply.ts';
import { factorHouseholder, formThinQ } from './qr.ts';

/** A = U diag(singularValues) V^T. */
export interface SingularValues {
  /** [m, min(m, n)], orthonormal columns, also where singular values are zero. */
  u: Matrix;
  /** Descending, >= 0. */
  singularValues: Float64Array;
  /** [n, min(m, n)], orthonormal columns, also where singular values are zero. */
  v: Matrix;
}

/**
 * Thin singular value decomposition of an m x n matrix by QR with column pivoting and one-sided Jacobi rotations on the rows
 * of R (Drmac and Veselic, SIAM J. Matrix Anal. Appl. 29, 2008), preconditioned by eigenvectors. Small singular values keep their relative
 * accuracy wherever the matrix determines them (columns of very different scale, down to 1e-140 of the largest), which the bidiagonal methods lose.
 * Throws KvlrError 'non-finite', 'numerical' (no convergence).
 */
export function svd(a: Matrix): SingularValues {
  requireFinite(a.data, a.cols);
  if (a.rows < a.cols) {
    const { u, singularValues, v } = svdTall(transpose(a));
    return { u: v, singularValues, v: u };
  }
  return svdTall(a);
}

function svdTall(a: Matrix): SingularValues {
  const { rows, cols } = a;
  const scale = powerOfTwoScale(a.data);
  const factored = factorHouseholder(a, scale, true);

  // R = W S Y^T, so A P = Q R = (Q W) S Y^T. Two steps of rotation make S Y^T of the rows of R and W^T of the identity.
  const rightRows = createMatrix(cols, cols);
  for (let i = 0; i < cols; i += 1) {
    rightRows.data[i * cols + i] = factored.diagonal[i]!;
    for (let j = i + 1; j < cols; j += 1) rightRows.data[i * cols + j] = factored.columns[j * rows + i]!;
  }
  const leftRows = preconditionRows(rightRows);
  orthogonaliseRows(rightRows.data, leftRows.data, cols);

  const norms = normaliseRows(rightRows);
  const order = descendingOrder(norms);
  completeOrthonormalRows(rightRows, norms);

  const sortedLeft = createMatrix(cols, cols);
  const v = createMatrix(cols, cols);
  for (let i = 0; i < cols; i += 1) {
    const source = order[i]! * cols;
    sortedLeft.data.set(leftRows.data.subarray(source, source + cols), i * cols);
    for (let j = 0; j < cols; j += 1) v.data[factored.order[j]! * cols + i] = rightRows.data[source + j]!;
  }
  return {
    u: multiplyTransposed(formThinQ(factored, rows, cols), sortedLeft),
    singularValues: Float64Array.from(order, (index) => norms[index]! / scale),
    v,
  };
}

/** Divides every row by its norm; rows that have vanished become zero and get norm 0. */
function normaliseRows(matrix: Matrix): Float64Array {
  const { rows, cols, data } = matrix;
  const norms = new Float64Array(rows);
  for (let i = 0; i < rows; i += 1) {
    let squared = 0;
    for (let index = i * cols; index < (i + 1) * cols; index += 1) squared += data[index]! * data[index]!;
    const norm = Math.sqrt(squared);
    norms[i] = norm < negligible ? 0 : norm;
    for (let index = i * cols; index < (i + 1) * cols; index += 1) {
      data[index] = norms[i] === 0 ? 0 : data[index]! / norm;
    }
  }
  return norms;
}

/**
 * The orthogonal Q that minimises ||a Q - b|| in the Frobenius norm: Q = U V^T from a^T b = U S V^T (Schoenemann,
 * Psychometrika 31, 1966). `a` and `b` are [m, n], Q is [n, n]; reflections are allowed.
 * Throws KvlrError 'invalid-argument' when the shapes differ, 'non-finite'.
 */
export function procrustes(a: Matrix, b: Matrix): Matrix {
  requireEqualSizes('as many rows on both sides', a.rows, a, b, b.rows);
  requireEqualSizes('as many columns on both sides', a.cols, a, b, b.cols);
  const { u, v } = svd(multiply(transpose(a), b));
  return multiplyTransposed(u, v);
}

/** Rows within this ratio of sizes are rotated together: rounding then costs each of them a few digits of its angle only. */
const windowRatio = 1e-4;

/**
 * Rotates the rows of the triangle R of a pivoted QR until those of similar size are nearly orthogonal, by the eigenvectors of
 * their Gram matrix, so that Jacobi has only rounding left to correct (after Gao, Ma and Shao, arXiv 2209.04626, where the
 * preconditioner comes from lower precision). Sizes are read off the falling diagonal; rows of very different size are never
 * mixed, so that the small ones keep their digits. Overwrites `triangle` and returns the orthogonal W^T with
 * W^T R = the new rows.
 */
function preconditionRows(triangle: Matrix): Matrix {
  const { rows, cols, data } = triangle;
  const rotation = identity(rows);
  const diagonal = (row: number) => Math.abs(data[row * cols + row]!);
  for (let start = 0; start < rows && diagonal(start) > negligible; ) {
    let end = start + 1;
    while (end < rows && diagonal(end) >= windowRatio * diagonal(start)) end += 1;
    const window = createMatrix(end - start, cols, data.slice(start * cols, end * cols));
    const vectors = transpose(eigSymmetric(multiplyTransposed(window, window)).vectors);
    data.set(multiply(vectors, window).data, start * cols);
    for (let row = start; row < end; row += 1) {
      rotation.data.set(
        vectors.data.subarray((row - start) * vectors.cols, (row - start + 1) * vectors.cols),
        row * rows + start,
      );
    }
    start = end;
  }
  return rotation;
}

const maximumSweeps = 60;

/** Beyond this the exact tangent would square to infinity; 1 / (2 zeta) is then exact to the last digit. */
const hugeCotangent = 1e100;

/**
 * One-sided Jacobi (Hestenes, 1958): rotates pairs of rows of an n x n array until all are orthogonal to within rounding of
 * the product of their norms, and applies the same rotations to `companion`. Negligible rows are left alone.
 * Throws KvlrError 'numerical' when 60 sweeps do not suffice.
 */
function orthogonaliseRows(rows: Float64Array, companion: Float64Array, n: number): void {
  const tolerance = Number.EPSILON * Math.max(4, Math.sqrt(n));
  const squares = new Float64Array(n);
  for (let sweep = 0; sweep < maximumSweeps; sweep += 1) {
    for (let i = 0; i < n; i += 1) squares[i] = dot(rows, i * n, i * n, n);
    let rotated = false;
    for (let p = 0; p < n - 1; p += 1) {
      for (let q = p + 1; q < n; q += 1) {
        if (squares[p]! < negligibleSquare || squares[q]! < negligibleSquare) continue;
        const overlap = dot(rows, p * n, q * n, n);
        if (Math.abs(overlap) <= tolerance * Math.sqrt(squares[p]!) * Math.sqrt(squares[q]!)) continue;
        rotated = true;
        const zeta = (squares[q]! - squares[p]!) / (2 * overlap);
        const size = Math.abs(zeta);
        const tangent = Math.sign(zeta || 1) / (size > hugeCotangent ? 2 * size : size + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        rotate(rows, p * n, q * n, n, cosine, cosine * tangent);
        rotate(companion, p * n, q * n, n, cosine, cosine * tangent);
        squares[p]! -= tangent * overlap;
        squares[q]! += tangent * overlap;
      }
    }
    if (!rotated) return;
  }
  throw new KvlrError('numerical', {
    message: `expected Jacobi rotations to converge in ${maximumSweeps} sweeps, they did not`,
    data: { size: n },
  });
}

function rotate(data: Float64Array, p: number, q: number, length: number, cosine: number, sine: number): void {
  for (let k = 0; k < length; k += 1) {
    const x = data[p + k]!;
    const y = data[q + k]!;
    data[p + k] = cosine * x - sine * y;
    data[q + k] = sine * x + cosine * y;
  }
}

/**
 * Replaces the rows whose norm is zero by unit vectors orthogonal to all others. Each comes from the coordinate axis that
 * the present rows cover least, by Gram and Schmidt applied twice ("twice is enough", Kahan and Parlett).
 */
function completeOrthonormalRows(matrix: Matrix, norms: Float64Array): void {
  const { rows, cols, data } = matrix;
  const coverage = new Float64Array(cols);
  for (let row = 0; row < rows; row += 1) addCoverage(coverage, data, row * cols, cols);
  for (let row = 0; row < rows; row += 1) {
    if (norms[row] !== 0) continue;
    const offset = row * cols;
    data[offset + leastCovered(coverage)] = 1;
    for (let pass = 0; pass < 2; pass += 1) {
      for (let other = 0; other < rows; other += 1) {
        // Rows that are still to be filled are zero and take nothing away.
        if (other !== row) subtractProjection(data, offset, other * cols, cols);
      }
      normalise(data, offset, cols);
    }
    addCoverage(coverage, data, offset, cols);
  }
}

function addCoverage(coverage: Float64Array, data: Float64Array, offset: number, cols: number): void {
  for (let k = 0; k < cols; k += 1) coverage[k]! += data[offset + k]! * data[offset + k]!;
}

function leastCovered(coverage: Float64Array): number {
  let least = 0;
  for (let k = 1; k < coverage.length; k += 1) if (coverage[k]! < coverage[least]!) least = k;
  return least;
}

function subtractProjection(data: Float64Array, target: number, direction: number, cols: number): void {
  let overlap = 0;
  for (let k = 0; k < cols; k += 1) overlap += data[target + k]! * data[direction + k]!;
  for (let k = 0; k < cols; k += 1) data[target + k]! -= overlap * data[direction + k]!;
}

function normalise(data: Float64Array, offset: number, cols: number): void {
  let squared = 0;
  for (let k = 0; k < cols; k += 1) squared += data[offset + k]! * data[offset + k]!;
  const norm = Math.sqrt(squared);
  for (let k = 0; k < cols; k += 1) data[offset + k]! /= norm;
}
