import { KvlrError } from '@kvlr/core';
import type { Matrix } from '../matrix.ts';
import { requireCount, requireFinite, requireSquare } from '../require.ts';
import { powerOfTwoScale } from '../scaling.ts';
import { blockKrylov } from './block-krylov.ts';
import { decomposeSymmetric } from './decompose-symmetric.ts';
import { scaledLowerTriangle } from './scaled-lower-triangle.ts';
import type { SymmetricEigen } from './symmetric-eigen.ts';

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
