import { createMatrix, multiply } from '@kvlr/linalg';
import { headRows } from '../moments/head-rows.ts';
import type { GroupFactors } from '../ports.ts';

/**
 * Weights and bias of the heads that the groups share: W' = A W_S and b' = A b_S, group after group.
 *
 * @param weight [K*D, inputs]; `bias` [K*D].
 * @returns [G*D, inputs] and [G*D].
 */
export function foldSharedHeads(
  weight: Float64Array,
  bias: Float64Array | undefined,
  groups: readonly (readonly number[])[],
  factors: readonly GroupFactors[],
  headDim: number,
): { weight: Float64Array; bias: Float64Array | undefined } {
  const inputs = weight.length / (groups.flat().length * headDim);
  const fold = (source: Float64Array, width: number): Float64Array => {
    const parts = groups.map((heads, group) =>
      multiply(factors[group]!.encoder, headRows(source, heads, headDim, width)),
    );
    const folded = createMatrix(
      parts.reduce((rows, part) => rows + part.rows, 0),
      width,
    );
    let start = 0;
    for (const part of parts) {
      folded.data.set(part.data, start);
      start += part.data.length;
    }
    return folded.data;
  };
  return { weight: fold(weight, inputs), bias: bias === undefined ? undefined : fold(bias, 1) };
}
