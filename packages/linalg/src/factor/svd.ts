import { descendingOrder } from '../eigen/sort-descending.ts';
import type { Matrix } from '../matrix.ts';
import { createMatrix, transpose } from '../matrix.ts';
import { multiplyTransposed } from '../product/multiply-transposed.ts';
import { requireFinite } from '../require.ts';
import { negligible, powerOfTwoScale } from '../scaling.ts';
import { completeOrthonormalRows } from './complete-orthonormal-rows.ts';
import { factorHouseholder, formThinQ } from './householder.ts';
import { orthogonaliseRows } from './orthogonalise-rows.ts';
import { preconditionRows } from './precondition-rows.ts';

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

  // R = W S Y^T, so A P = Q R = (Q W) S Y^T. Two steps of turning make S Y^T of the rows of R and W^T of the identity.
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
