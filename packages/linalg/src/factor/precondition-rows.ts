import { eigSymmetric } from '../eigen/eig-symmetric.ts';
import type { Matrix } from '../matrix.ts';
import { createMatrix, identity, transpose } from '../matrix.ts';
import { multiply } from '../product/multiply.ts';
import { multiplyTransposed } from '../product/multiply-transposed.ts';
import { negligible } from '../scaling.ts';

/** Rows within this ratio of sizes are turned together: rounding then costs each of them a few digits of its angle only. */
const windowRatio = 1e-4;

/**
 * Turns the rows of the triangle R of a pivoted QR until those of similar size are nearly orthogonal, by the eigenvectors of
 * their Gram matrix, so that Jacobi has only rounding left to mend (after Gao, Ma and Shao, arXiv 2209.04626, where the
 * preconditioner comes from lower precision). Sizes are read off the falling diagonal; rows of very different size are never
 * mixed, so that the small ones keep their digits. Overwrites `triangle` and returns the orthogonal W^T with
 * W^T R = the new rows.
 */
export function preconditionRows(triangle: Matrix): Matrix {
  const { rows, cols, data } = triangle;
  const turned = identity(rows);
  const diagonal = (row: number) => Math.abs(data[row * cols + row]!);
  for (let start = 0; start < rows && diagonal(start) > negligible; ) {
    let end = start + 1;
    while (end < rows && diagonal(end) >= windowRatio * diagonal(start)) end += 1;
    const window = createMatrix(end - start, cols, data.slice(start * cols, end * cols));
    const vectors = transpose(eigSymmetric(multiplyTransposed(window, window)).vectors);
    data.set(multiply(vectors, window).data, start * cols);
    for (let row = start; row < end; row += 1) {
      turned.data.set(
        vectors.data.subarray((row - start) * vectors.cols, (row - start + 1) * vectors.cols),
        row * rows + start,
      );
    }
    start = end;
  }
  return turned;
}
