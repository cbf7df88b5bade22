import { createMatrix, identity, transpose } from '../../matrix.ts';
import { powerOfTwoScale } from '../../scaling.ts';
import { isNegligibleCoupling } from '../is-negligible-coupling.ts';
import { tridiagonalQl } from '../tridiagonal-ql.ts';
import { mergeHalves, type TridiagonalEigen } from './merge-halves.ts';

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
