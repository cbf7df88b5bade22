import { createMatrix, svd } from '@kvlr/linalg';

/**
 * Condition number of a projection, largest over smallest singular value. Singular values below rounding error count as it,
 * so that a matrix without full rank has a large condition number and not an infinite one.
 *
 * @param weight [rows, columns] row-major.
 */
export function conditionNumber(weight: Float64Array, rows: number, columns: number): number {
  const { singularValues } = svd(createMatrix(rows, columns, weight));
  const largest = singularValues[0]!;
  if (largest === 0) return 1;
  const floor = largest * Number.EPSILON * Math.max(rows, columns);
  return largest / Math.max(singularValues.at(-1)!, floor);
}
