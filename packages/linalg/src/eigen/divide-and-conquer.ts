import { powerOfTwoScale } from '../input.ts';
import { createMatrix, identity, type Matrix, transpose } from '../matrix.ts';
import { addProduct } from '../product/multiply.ts';
import { descendingOrder } from './column-order.ts';
import { solveSecularEquation } from './secular-equation.ts';
import { isNegligibleCoupling, tridiagonalQl } from './tridiagonal-ql.ts';

/** Up to this size QL is faster than cutting further. */
const leafSize = 32;

/**
 * Eigenvalues, in no order, and eigenvectors of a real symmetric tridiagonal matrix scaled to about 1: cut in two, solve
 * both halves, merge (Cuppen, 1981; LAPACK dstedc). offDiagonal[i] couples i - 1 and i. Blocks that hang together by
 * negligible couplings only are solved apart, each to its own precision. Throws KvlrError 'numerical' (no convergence).
 */
export function divideAndConquer(diagonal: Float64Array, offDiagonal: Float64Array): TridiagonalEigen {
  const n = diagonal.length;
  const values = new Float64Array(n);
  const rows = createMatrix(n, n);
  for (let start = 0; start < n; ) {
    const end = findBlockEnd(diagonal, offDiagonal, start);
    const scale = powerOfTwoScale(diagonal.subarray(start, end), offDiagonal.subarray(start + 1, end));
    const scaled = (data: Float64Array) => data.slice(start, end).map((value) => value * scale);
    const block = solve(scaled(diagonal), scaled(offDiagonal));
    const size = end - start;
    if (size === n) return { values: block.values.map((value) => value / scale), rows: block.rows };
    for (let k = 0; k < size; k += 1) {
      values[start + k] = block.values[k]! / scale;
      rows.data.set(block.rows.data.subarray(k * size, (k + 1) * size), (start + k) * n + start);
    }
    start = end;
  }
  return { values, rows };
}

/** Both arrays are overwritten. */
function solve(diagonal: Float64Array, offDiagonal: Float64Array): TridiagonalEigen {
  const n = diagonal.length;
  if (n <= leafSize) {
    const vectors = identity(n);
    tridiagonalQl(diagonal, offDiagonal, [vectors.data]);
    return { values: diagonal, rows: transpose(vectors) };
  }
  const middle = n >> 1;
  const coupling = offDiagonal[middle]!;
  diagonal[middle - 1]! -= Math.abs(coupling);
  diagonal[middle]! -= Math.abs(coupling);
  return mergeHalves(
    solve(diagonal.subarray(0, middle), offDiagonal.subarray(0, middle)),
    solve(diagonal.subarray(middle), offDiagonal.subarray(middle)),
    coupling,
  );
}

/** One past the last place of the block that starts here. */
function findBlockEnd(diagonal: Float64Array, offDiagonal: Float64Array, start: number): number {
  let end = start + 1;
  while (end < diagonal.length && !isNegligibleCoupling(offDiagonal[end]!, diagonal[end - 1]!, diagonal[end]!))
    end += 1;
  return end;
}

/** Eigenvalues, in no order, of a symmetric tridiagonal matrix; row k of `rows` is the eigenvector of values[k]. */
interface TridiagonalEigen {
  values: Float64Array;
  rows: Matrix;
}

/**
 * Eigensystem of diag(T1, T2) + |coupling| w w^T, w having 1 at the last place of T1 and the sign of the coupling at the
 * first one of T2, from those of T1 and T2 (Cuppen, Numerische Mathematik 36, 1981). The vectors come from a z that belongs
 * exactly to the eigenvalues found, which makes them orthogonal however close those are (Gu and Eisenstat, SIAM J. Matrix
 * Anal. Appl. 15, 1994).
 */
function mergeHalves(first: TridiagonalEigen, second: TridiagonalEigen, coupling: number): TridiagonalEigen {
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

/** What is left of diag(values) + strength * z z^T after deflation. */
interface Deflation {
  /** Indices that take part in the rank-one update, ascending in value; their values are distinct, their z not zero. */
  coupled: number[];
  /** Indices whose value and vector are eigenvalue and eigenvector already. */
  settled: number[];
}

/** The halves in which a vector has entries. */
const firstHalf = 1;
const secondHalf = 2;

/**
 * Finds the eigenvectors that the update diag(values) + strength * z z^T leaves alone to within rounding: those whose entry of z is
 * negligible, and one of each pair of (nearly) equal values, after a rotation of the two vectors that makes its entry zero
 * (Dongarra and Sorensen, SIAM J. Sci. Stat. Comput. 8, 1987; LAPACK dlaed2). Changes `values`, `z`, the rows of `rows`, and
 * the `halves` in which each of them has entries. Values are of magnitude 1 or so; z is a unit vector.
 */
function deflate(values: Float64Array, z: Float64Array, strength: number, rows: Matrix, halves: Uint8Array): Deflation {
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
