import { KvlrError } from '@kvlr/core';
import { dot } from '../product/dot.ts';
import { negligibleSquare } from '../scaling.ts';

const maximumSweeps = 60;

/** Beyond this the exact tangent would square to infinity; 1 / (2 zeta) is then exact to the last digit. */
const hugeCotangent = 1e100;

/**
 * One-sided Jacobi (Hestenes, 1958): rotates pairs of rows of an n x n array until all are orthogonal to within rounding of
 * the product of their norms, and applies the same rotations to `companion`. Negligible rows are left alone.
 * Throws KvlrError 'numerical' when 60 sweeps do not suffice.
 */
export function orthogonaliseRows(rows: Float64Array, companion: Float64Array, n: number): void {
  const tolerance = Number.EPSILON * Math.max(4, Math.sqrt(n));
  const squares = new Float64Array(n);
  for (let sweep = 0; sweep < maximumSweeps; sweep += 1) {
    for (let i = 0; i < n; i += 1) squares[i] = dot(rows, i * n, i * n, n);
    let rotated = false;
    for (let p = 0; p < n - 1; p += 1) {
      for (let q = p + 1; q < n; q += 1) {
        if (squares[p]! < negligibleSquare || squares[q]! < negligibleSquare) continue;
        const overlap = dot(rows, p * n, q * n, n);
        if (Math.abs(overlap) <= tolerance * Math.sqrt(squares[p]!) * Math.sqrt(squares[q]!)) continue;
        rotated = true;
        const zeta = (squares[q]! - squares[p]!) / (2 * overlap);
        const size = Math.abs(zeta);
        const tangent = Math.sign(zeta || 1) / (size > hugeCotangent ? 2 * size : size + Math.sqrt(1 + zeta * zeta));
        const cosine = 1 / Math.sqrt(1 + tangent * tangent);
        rotate(rows, p * n, q * n, n, cosine, cosine * tangent);
        rotate(companion, p * n, q * n, n, cosine, cosine * tangent);
        squares[p]! -= tangent * overlap;
        squares[q]! += tangent * overlap;
      }
    }
    if (!rotated) return;
  }
  throw new KvlrError('numerical', {
    message: `expected Jacobi rotations to converge in ${maximumSweeps} sweeps, they did not`,
    data: { size: n },
  });
}

function rotate(data: Float64Array, p: number, q: number, length: number, cosine: number, sine: number): void {
  for (let k = 0; k < length; k += 1) {
    const x = data[p + k]!;
    const y = data[q + k]!;
    data[p + k] = cosine * x - sine * y;
    data[q + k] = sine * x + cosine * y;
  }
}
