import type { Matrix } from '../matrix.ts';

/**
 * Replaces the rows whose norm is zero by unit vectors orthogonal to all others. Each comes from the coordinate axis that
 * the present rows cover least, by Gram and Schmidt applied twice ("twice is enough", Kahan and Parlett).
 */
export function completeOrthonormalRows(matrix: Matrix, norms: Float64Array): void {
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
