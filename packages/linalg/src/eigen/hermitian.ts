import { KvlrError } from '@kvlr/core';
import { type ComplexMatrix, createComplexMatrix } from '../complex-matrix.ts';
import { negligible, negligibleSquare, powerOfTwoScale, requireFinite, requireSquare } from '../input.ts';
import { descendingOrder, permuteColumns } from './column-order.ts';
import { symmetryTolerance } from './symmetric.ts';
import { tridiagonalQl } from './tridiagonal-ql.ts';

/** Real eigenvalues in descending order; column k of `vectors` belongs to values[k]. */
export interface HermitianEigen {
  values: Float64Array;
  /** [n, n], columns orthonormal in the complex inner product. */
  vectors: ComplexMatrix;
}

/**
 * Eigendecomposition A = V diag(values) V^H of a complex Hermitian matrix: unitary Householder reduction to real
 * tridiagonal form, then implicit QL. The vectors are orthonormal in C also where eigenvalues coincide. A and its
 * conjugate transpose are averaged.
 * Throws KvlrError 'invalid-argument' (not square, not Hermitian), 'non-finite', 'numerical' (no convergence).
 */
export function eigHermitian(a: ComplexMatrix): HermitianEigen {
  requireSquare(a);
  requireFinite(a.real, a.cols);
  requireFinite(a.imag, a.cols);
  const n = a.rows;
  const scale = powerOfTwoScale(a.real, a.imag);
  const { diagonal, offDiagonal, q } = tridiagonaliseHermitian(scaledHermitian(a, scale));
  tridiagonalQl(diagonal, offDiagonal, [q.real, q.imag]);
  const order = descendingOrder(diagonal);
  return {
    values: Float64Array.from(order, (index) => diagonal[index]! / scale),
    vectors: {
      rows: n,
      cols: n,
      real: permuteColumns(q.real, n, order),
      imag: permuteColumns(q.imag, n, order),
    },
  };
}

function scaledHermitian(a: ComplexMatrix, scale: number): ComplexMatrix {
  const n = a.rows;
  const result = createComplexMatrix(n, n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j <= i; j += 1) {
      const lower = i * n + j;
      const upper = j * n + i;
      const realGap = Math.abs(a.real[lower]! - a.real[upper]!) * scale;
      const imagGap = Math.abs(a.imag[lower]! + a.imag[upper]!) * scale;
      if (realGap > symmetryTolerance || imagGap > symmetryTolerance) {
        throw new KvlrError('invalid-argument', {
          message: `expected a Hermitian matrix, got ${a.real[lower]} + ${a.imag[lower]}i at (${i}, ${j}) and ${a.real[upper]} + ${a.imag[upper]}i at (${j}, ${i})`,
          hint: 'Average the matrix with its conjugate transpose if the difference is meant to be zero.',
          data: { row: i, column: j },
        });
      }
      const real = 0.5 * (a.real[lower]! * scale + a.real[upper]! * scale);
      const imag = 0.5 * (a.imag[lower]! * scale - a.imag[upper]! * scale);
      result.real[lower] = real;
      result.real[upper] = real;
      result.imag[lower] = imag;
      result.imag[upper] = -imag;
    }
  }
  return result;
}

/** Q^H A Q = T with T real, symmetric and tridiagonal; offDiagonal[i] >= 0 couples i - 1 and i. */
interface HermitianTridiagonalised {
  diagonal: Float64Array;
  offDiagonal: Float64Array;
  /** [n, n], unitary. */
  q: ComplexMatrix;
}

/**
 * Unitary Householder reduction of a Hermitian matrix to real tridiagonal form, from the last row upwards (the complex
 * counterpart of tred2; Mueller, Numerische Mathematik 8, 1966). A diagonal of phases makes the couplings real.
 * Both parts of `a` are overwritten.
 */
function tridiagonaliseHermitian(a: ComplexMatrix): HermitianTridiagonalised {
  const n = a.rows;
  const { real, imag } = a;
  const diagonal = new Float64Array(n);
  const offDiagonal = new Float64Array(n);
  const phaseReal = new Float64Array(n);
  const phaseImag = new Float64Array(n);
  const v: Vector = { real: new Float64Array(n), imag: new Float64Array(n) };
  const product: Vector = { real: new Float64Array(n), imag: new Float64Array(n) };
  const q = createComplexMatrix(n, n);
  for (let i = 0; i < n; i += 1) q.real[i * n + i] = 1;

  // Reflectors are found from the last row upwards but build Q from the first one on: they are kept in the rows of a.
  const halfNorms = new Float64Array(n);
  for (let i = n - 1; i > 0; i -= 1) {
    diagonal[i] = real[i * n + i]!;
    const last = i * n + i - 1;
    let rest = 0;
    for (let k = i * n; k < last; k += 1) rest += real[k]! * real[k]! + imag[k]! * imag[k]!;
    if (rest < negligibleSquare) rest = 0;
    const length = Math.hypot(real[last]!, imag[last]!);
    const lastLength = length < negligible ? 0 : length;
    const norm = Math.sqrt(rest + lastLength * lastLength);
    offDiagonal[i] = norm;
    // Row i of a Hermitian matrix is the conjugate of column i, which the reflector shortens to a multiple of -phase.
    const cosine = lastLength === 0 ? 1 : real[last]! / lastLength;
    const sine = lastLength === 0 ? 0 : -imag[last]! / lastLength;
    const sign = rest === 0 ? 1 : -1;
    phaseReal[i] = sign * cosine;
    phaseImag[i] = sign * sine;
    if (rest === 0) continue;
    halfNorms[i] = norm * (norm + lastLength);
    for (let k = 0; k < i; k += 1) {
      v.real[k] = real[i * n + k]!;
      v.imag[k] = -imag[i * n + k]!;
    }
    v.real[i - 1]! += cosine * norm;
    v.imag[i - 1]! += sine * norm;
    reflectBothSides(a, i, v, halfNorms[i]!, product);
    real.set(v.real.subarray(0, i), i * n);
    imag.set(v.imag.subarray(0, i), i * n);
  }
  if (n > 0) diagonal[0] = real[0]!;

  for (let i = 2; i < n; i += 1) {
    if (halfNorms[i]! > 0) reflectRows(q, i, a, halfNorms[i]!, product);
  }
  scaleByPhases(q, phaseReal, phaseImag);
  return { diagonal, offDiagonal, q };
}

interface Vector {
  real: Float64Array;
  imag: Float64Array;
}

/** Leading size x size block: a = P a P with P = I - v v^H / halfNorm, as the update a - v w^H - w v^H. */
function reflectBothSides(a: ComplexMatrix, size: number, v: Vector, halfNorm: number, w: Vector): void {
  const n = a.cols;
  let projection = 0;
  for (let row = 0; row < size; row += 1) {
    const offset = row * n;
    let sumReal = 0;
    let sumImag = 0;
    for (let k = 0; k < size; k += 1) {
      sumReal += a.real[offset + k]! * v.real[k]! - a.imag[offset + k]! * v.imag[k]!;
      sumImag += a.real[offset + k]! * v.imag[k]! + a.imag[offset + k]! * v.real[k]!;
    }
    w.real[row] = sumReal / halfNorm;
    w.imag[row] = sumImag / halfNorm;
    projection += v.real[row]! * w.real[row]! + v.imag[row]! * w.imag[row]!;
  }
  projection /= 2 * halfNorm;
  for (let k = 0; k < size; k += 1) {
    w.real[k]! -= projection * v.real[k]!;
    w.imag[k]! -= projection * v.imag[k]!;
  }
  for (let row = 0; row < size; row += 1) {
    const offset = row * n;
    const vReal = v.real[row]!;
    const vImag = v.imag[row]!;
    const wReal = w.real[row]!;
    const wImag = w.imag[row]!;
    for (let k = 0; k < size; k += 1) {
      a.real[offset + k]! -= vReal * w.real[k]! + vImag * w.imag[k]! + wReal * v.real[k]! + wImag * v.imag[k]!;
      a.imag[offset + k]! -= vImag * w.real[k]! - vReal * w.imag[k]! + wImag * v.real[k]! - wReal * v.imag[k]!;
    }
    a.imag[offset + row] = 0;
  }
}

/** Leading size x size block of q from the left: q = (I - v v^H / halfNorm) q, v in row `size` of the reflectors. */
function reflectRows(q: ComplexMatrix, size: number, reflectors: ComplexMatrix, halfNorm: number, sums: Vector): void {
  const n = q.cols;
  const source = size * n;
  sums.real.fill(0, 0, size);
  sums.imag.fill(0, 0, size);
  for (let row = 0; row < size; row += 1) {
    const vReal = reflectors.real[source + row]!;
    const vImag = reflectors.imag[source + row]!;
    const offset = row * n;
    for (let k = 0; k < size; k += 1) {
      sums.real[k]! += vReal * q.real[offset + k]! + vImag * q.imag[offset + k]!;
      sums.imag[k]! += vReal * q.imag[offset + k]! - vImag * q.real[offset + k]!;
    }
  }
  for (let row = 0; row < size; row += 1) {
    const vReal = reflectors.real[source + row]! / halfNorm;
    const vImag = reflectors.imag[source + row]! / halfNorm;
    const offset = row * n;
    for (let k = 0; k < size; k += 1) {
      q.real[offset + k]! -= vReal * sums.real[k]! - vImag * sums.imag[k]!;
      q.imag[offset + k]! -= vReal * sums.imag[k]! + vImag * sums.real[k]!;
    }
  }
}

/** Multiplies column i of q by the product of the conjugates of the phases 1..i. */
function scaleByPhases(q: ComplexMatrix, phaseReal: Float64Array, phaseImag: Float64Array): void {
  const n = q.cols;
  let scaleReal = 1;
  let scaleImag = 0;
  for (let col = 1; col < n; col += 1) {
    const nextReal = scaleReal * phaseReal[col]! + scaleImag * phaseImag[col]!;
    scaleImag = scaleImag * phaseReal[col]! - scaleReal * phaseImag[col]!;
    scaleReal = nextReal;
    for (let row = 0; row < n; row += 1) {
      const index = row * n + col;
      const x = q.real[index]!;
      const y = q.imag[index]!;
      q.real[index] = x * scaleReal - y * scaleImag;
      q.imag[index] = x * scaleImag + y * scaleReal;
    }
  }
}
