import { createNormalRandom, KvlrError } from '@kvlr/core';
import { powerOfTwoScale, requireCount, requireFinite, requireSquare } from '../input.ts';
import { createMatrix, type Matrix, transpose } from '../matrix.ts';
import { multiply, multiplyTransposed } from '../product/multiply.ts';
import { qr } from '../qr.ts';
import { decomposeSymmetric, eigSymmetric, type SymmetricEigen, scaledLowerTriangle } from './symmetric.ts';

/** Below this size, or when more than one vector in 32 is wanted, the full reduction is as fast. */
const smallestIterated = 256;
const largestShare = 1 / 32;

export interface SymmetricTopSettings {
  /** Largest residual |A v - value * v|, in units of the largest magnitude of an eigenvalue, at which iteration stops. */
  tolerance?: number;
}

/**
 * The `count` largest eigenvalues of a real symmetric matrix, descending, and their vectors as columns. Few of many are
 * found by block Krylov iteration, to residuals of `tolerance` (default 1e-11) in units of the largest magnitude of an
 * eigenvalue; where that does not get there early, and everywhere else, by the full reduction, of which only the wanted
 * vectors are transformed back.
 * Throws KvlrError 'invalid-argument' (not square, not symmetric, count out of range), 'non-finite', 'numerical' (no
 * convergence).
 */
export function eigSymmetricTop(a: Matrix, count: number, settings: SymmetricTopSettings = {}): SymmetricEigen {
  const { tolerance = 1e-11 } = settings;
  requireSquare(a);
  requireFinite(a.data, a.cols);
  requireCount('count', count);
  const n = a.rows;
  if (count > n) {
    throw new KvlrError('invalid-argument', {
      message: `expected a count of at most ${n} for ${n}x${n}, got ${count}`,
      data: { count, size: n },
    });
  }
  const scale = powerOfTwoScale(a.data);
  const lower = scaledLowerTriangle(a, scale);
  const worthIterating = n >= smallestIterated && count > 0 && count <= largestShare * n;
  const { values, vectors } =
    (worthIterating ? blockKrylov(mirror(lower, n), count, tolerance, n / 3) : undefined) ??
    decomposeSymmetric(lower, n, count);
  return { values: values.map((value) => value / scale), vectors };
}

function mirror(lower: Float64Array, n: number): Matrix {
  const data = Float64Array.from(lower);
  for (let i = 0; i < n; i += 1) for (let j = 0; j < i; j += 1) data[j * n + i] = data[i * n + j]!;
  return { rows: n, cols: n, data };
}

/** Directions carried along beside the wanted ones; they catch what lies close behind. */
const oversampling = 4;

/** Passes of projection after which a block counts as impossible to make orthogonal to the basis. */
const maximumPasses = 4;

/**
 * The `count` largest eigenvalues and vectors of a symmetric matrix from the span of X, A X, A^2 X, ... for a random block X
 * of count + 4 columns, by the Rayleigh-Ritz method (block Lanczos with full orthogonalisation; Golub and Van Loan, Matrix
 * Computations, 10.3; Musco and Musco, arXiv 1504.05477). Returns undefined when, before the span has reached
 * `largestBasis` dimensions, not every residual |A v - value * v| has fallen to `tolerance` times the largest magnitude of
 * an eigenvalue. The start is the same at every call. `a` holds both triangles.
 */
export function blockKrylov(
  a: Matrix,
  count: number,
  tolerance: number,
  largestBasis: number,
): SymmetricEigen | undefined {
  const n = a.rows;
  const width = count + oversampling;
  const normal = createNormalRandom(1);
  let block = orthonormalRows(createMatrix(width, n, Float64Array.from({ length: width * n }, normal)));
  let basis = createMatrix(0, n);
  let images = createMatrix(0, n);
  let nextCheck = 3 * width;
  while (basis.rows + width <= largestBasis) {
    const image = multiply(block, a);
    basis = stackRows(basis, block);
    images = stackRows(images, image);
    if (basis.rows >= nextCheck || basis.rows + width > largestBasis) {
      const { eigen, residual } = rayleighRitz(basis, images, count);
      if (residual <= tolerance) return eigen;
      // Residuals fall about geometrically, after a slow start: who is far behind that schedule will not arrive.
      if (residual > tolerance ** ((0.4 * basis.rows) / largestBasis)) return undefined;
      nextCheck = 1.5 * basis.rows;
    }
    const next = orthogonaliseAgainst(basis, image);
    if (next === undefined) return undefined;
    block = next;
  }
  return undefined;
}

/** The best approximations in the span of the basis, and their largest residual relative to the largest eigenvalue. */
function rayleighRitz(basis: Matrix, images: Matrix, count: number): { eigen: SymmetricEigen; residual: number } {
  const n = basis.cols;
  const ritz = eigSymmetric(multiplyTransposed(basis, images));
  const values = ritz.values.slice(0, count);
  const largest = Math.max(Math.abs(values[0]!), Math.abs(ritz.values.at(-1)!));
  const coordinates = createMatrix(count, basis.rows);
  for (let k = 0; k < count; k += 1) {
    for (let j = 0; j < basis.rows; j += 1) {
      coordinates.data[k * basis.rows + j] = ritz.vectors.data[j * basis.rows + k]!;
    }
  }
  const vectors = multiply(coordinates, basis);
  const products = multiply(coordinates, images);
  let residual = 0;
  for (let k = 0; k < count; k += 1) {
    let squared = 0;
    for (let index = k * n; index < (k + 1) * n; index += 1) {
      squared += (products.data[index]! - values[k]! * vectors.data[index]!) ** 2;
    }
    residual = Math.max(residual, Math.sqrt(squared) / (largest || 1));
  }
  return { eigen: { values, vectors: transpose(vectors) }, residual };
}

/** Orthonormal rows that extend the basis by the new directions of `rows`; undefined where rounding hides them. */
function orthogonaliseAgainst(basis: Matrix, rows: Matrix): Matrix | undefined {
  let block = orthonormalRows(rows);
  for (let pass = 0; pass < maximumPasses; pass += 1) {
    const overlaps = multiplyTransposed(block, basis);
    const inside = multiply(overlaps, basis);
    const outside = block.data.map((value, index) => value - inside.data[index]!);
    block = orthonormalRows({ ...block, data: outside });
    if (overlaps.data.every((overlap) => Math.abs(overlap) < 1e-10)) return block;
  }
  return undefined;
}

function orthonormalRows(rows: Matrix): Matrix {
  return transpose(qr(transpose(rows)).q);
}

function stackRows(upper: Matrix, lower: Matrix): Matrix {
  const result = createMatrix(upper.rows + lower.rows, upper.cols);
  result.data.set(upper.data);
  result.data.set(lower.data, upper.data.length);
  return result;
}
