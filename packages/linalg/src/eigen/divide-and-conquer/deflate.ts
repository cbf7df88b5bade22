import type { Matrix } from '../../matrix.ts';
import { descendingOrder } from '../sort-descending.ts';

/** What is left of diag(values) + strength * z z^T after deflation. */
export interface Deflation {
  /** Indices that take part in the rank-one update, ascending in value; their values are distinct, their z not zero. */
  coupled: number[];
  /** Indices whose value and vector are eigenvalue and eigenvector already. */
  settled: number[];
}

/** The halves in which a vector has entries. */
export const firstHalf = 1;
export const secondHalf = 2;

/**
 * Finds the eigenvectors that the update diag(values) + strength * z z^T leaves alone to within rounding: those whose entry of z is
 * negligible, and one of each pair of (nearly) equal values, after a rotation of the two vectors that makes its entry zero
 * (Dongarra and Sorensen, SIAM J. Sci. Stat. Comput. 8, 1987; LAPACK dlaed2). Changes `values`, `z`, the rows of `rows`, and
 * the `halves` in which each of them has entries. Values are of magnitude 1 or so; z is a unit vector.
 */
export function deflate(
  values: Float64Array,
  z: Float64Array,
  strength: number,
  rows: Matrix,
  halves: Uint8Array,
): Deflation {
  const largest = Math.max(largestMagnitude(values), largestMagnitude(z));
  const tolerance = 8 * Number.EPSILON * largest;
  const coupled: number[] = [];
  const settled: number[] = [];
  // The candidate is coupled for certain once the next value is known to be far enough from its own.
  let candidate = -1;
  for (const index of descendingOrder(values).reverse()) {
    if (strength * Math.abs(z[index]!) <= tolerance) {
      settled.push(index);
      continue;
    }
    if (candidate >= 0) {
      const length = Math.hypot(z[candidate]!, z[index]!);
      const cosine = z[index]! / length;
      const sine = -z[candidate]! / length;
      const difference = values[index]! - values[candidate]!;
      if (Math.abs(difference * cosine * sine) <= tolerance) {
        z[index] = length;
        z[candidate] = 0;
        rotateRows(rows, candidate, index, cosine, sine);
        halves[candidate]! |= halves[index]!;
        halves[index] = halves[candidate]!;
        const value = values[candidate]!;
        values[candidate] = value * cosine * cosine + values[index]! * sine * sine;
        values[index] = value * sine * sine + values[index]! * cosine * cosine;
        settled.push(candidate);
      } else {
        coupled.push(candidate);
      }
    }
    candidate = index;
  }
  if (candidate >= 0) coupled.push(candidate);
  return { coupled, settled };
}

function rotateRows({ data, cols }: Matrix, first: number, second: number, cosine: number, sine: number): void {
  for (let k = 0; k < cols; k += 1) {
    const x = data[first * cols + k]!;
    const y = data[second * cols + k]!;
    data[first * cols + k] = cosine * x + sine * y;
    data[second * cols + k] = cosine * y - sine * x;
  }
}

function largestMagnitude(data: Float64Array): number {
  return data.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}
