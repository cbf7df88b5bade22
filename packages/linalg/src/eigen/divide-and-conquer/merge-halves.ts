import type { Matrix } from '../../matrix.ts';
import { createMatrix } from '../../matrix.ts';
import { addProduct } from '../../product/add-product.ts';
import { deflate, firstHalf, secondHalf } from './deflate.ts';
import { solveSecularEquation } from './solve-secular-equation.ts';

/** Eigenvalues, in no order, of a symmetric tridiagonal matrix; row k of `rows` is the eigenvector of values[k]. */
export interface TridiagonalEigen {
  values: Float64Array;
  rows: Matrix;
}

/**
 * Eigensystem of diag(T1, T2) + |coupling| w w^T, w having 1 at the last place of T1 and the sign of the coupling at the
 * first one of T2, from those of T1 and T2 (Cuppen, Numerische Mathematik 36, 1981). The vectors come from a z that belongs
 * exactly to the eigenvalues found, which makes them orthogonal however close those are (Gu and Eisenstat, SIAM J. Matrix
 * Anal. Appl. 15, 1994).
 */
export function mergeHalves(first: TridiagonalEigen, second: TridiagonalEigen, coupling: number): TridiagonalEigen {
  const firstSize = first.values.length;
  const size = firstSize + second.values.length;
  const values = new Float64Array(size);
  values.set(first.values);
  values.set(second.values, firstSize);
  const rows = createMatrix(size, size);
  const halves = new Uint8Array(size).fill(secondHalf);
  const z = new Float64Array(size);
  for (let k = 0; k < firstSize; k += 1) {
    rows.data.set(first.rows.data.subarray(k * firstSize, (k + 1) * firstSize), k * size);
    halves[k] = firstHalf;
    z[k] = Math.SQRT1_2 * rows.data[k * size + firstSize - 1]!;
  }
  const sign = coupling < 0 ? -Math.SQRT1_2 : Math.SQRT1_2;
  for (let k = firstSize; k < size; k += 1) {
    const source = (k - firstSize) * (size - firstSize);
    rows.data.set(second.rows.data.subarray(source, source + size - firstSize), k * size + firstSize);
    z[k] = sign * second.rows.data[source]!;
  }
  const strength = 2 * Math.abs(coupling);
  const { coupled, settled } = deflate(values, z, strength, rows, halves);
  const update = solveRankOneUpdate(values, z, strength, coupled);
  return {
    values: Float64Array.from([...update.values, ...settled.map((index) => values[index]!)]),
    rows: combineRows(rows, halves, coupled, settled, update.coordinates, firstSize),
  };
}

/** Eigenvalues of diag(values) + strength * z z^T on the coupled indices, and row by row their unit eigenvectors. */
function solveRankOneUpdate(
  values: Float64Array,
  z: Float64Array,
  strength: number,
  coupled: number[],
): { values: Float64Array; coordinates: Matrix } {
  const count = coupled.length;
  const poles = Float64Array.from(coupled, (index) => values[index]!);
  const weights = Float64Array.from(coupled, (index) => strength * z[index]! * z[index]!);
  // Row i of the gaps, poles[j] - root i, is in the end overwritten by eigenvector i.
  const gaps = createMatrix(count, count);
  const roots = new Float64Array(count);
  const squares = new Float64Array(count).fill(1);
  for (let i = 0; i < count; i += 1) {
    const row = gaps.data.subarray(i * count, (i + 1) * count);
    roots[i] = solveSecularEquation(poles, weights, i, row);
    // Loewner's formula: z_j^2 = prod_i (root_i - pole_j) / prod_{i != j} (pole_i - pole_j), up to a common factor.
    for (let j = 0; j < count; j += 1) squares[j]! *= j === i ? -row[j]! : row[j]! / (poles[j]! - poles[i]!);
  }
  const refined = squares.map((square, j) => (z[coupled[j]!]! < 0 ? -1 : 1) * Math.sqrt(Math.abs(square)));
  for (let i = 0; i < count; i += 1) {
    const row = gaps.data.subarray(i * count, (i + 1) * count);
    let squared = 0;
    for (let j = 0; j < count; j += 1) {
      const entry = refined[j]! / row[j]!;
      row[j] = entry;
      squared += entry * entry;
    }
    const inverse = 1 / Math.sqrt(squared);
    for (let j = 0; j < count; j += 1) row[j]! *= inverse;
  }
  return { values: roots, coordinates: gaps };
}

/**
 * The new vectors, coordinates times coupled rows, and after them the settled rows. Coupled rows are put in the order:
 * first half only, both halves, second half only; so that either half of the result is a product without zeros.
 */
function combineRows(
  rows: Matrix,
  halves: Uint8Array,
  coupled: number[],
  settled: number[],
  coordinates: Matrix,
  firstSize: number,
): Matrix {
  const size = rows.rows;
  const count = coupled.length;
  const placesIn = (wanted: number) => [...coupled.keys()].filter((j) => halves[coupled[j]!] === wanted);
  const firstOnly = placesIn(firstHalf);
  const secondOnly = placesIn(secondHalf);
  const position = [...firstOnly, ...placesIn(firstHalf | secondHalf), ...secondOnly];
  const gathered = createMatrix(count, size);
  const ordered = createMatrix(count, count);
  for (let j = 0; j < count; j += 1) {
    const source = coupled[position[j]!]! * size;
    gathered.data.set(rows.data.subarray(source, source + size), j * size);
  }
  for (let i = 0; i < count; i += 1) {
    const row = i * count;
    for (let j = 0; j < count; j += 1) ordered.data[row + j] = coordinates.data[row + position[j]!]!;
  }
  const result = createMatrix(size, size);
  const addHalf = (from: number, to: number, start: number, end: number) =>
    addProduct(
      { data: ordered.data.subarray(from), count, vectorStride: count, entryStride: 1 },
      { data: gathered.data.subarray(from * size + start), count: end - start, vectorStride: 1, entryStride: size },
      to - from,
      result.data.subarray(start),
      size,
    );
  addHalf(0, count - secondOnly.length, 0, firstSize);
  addHalf(firstOnly.length, count, firstSize, size);
  settled.forEach((index, k) => {
    result.data.set(rows.data.subarray(index * size, (index + 1) * size), (count + k) * size);
  });
  return result;
}
