import {
  createMatrix,
  type Matrix,
  multiply,
  multiplyTransposed,
  selectBlock,
  solveRidge,
  transpose,
} from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import { ridgeOf } from './ridge-of.ts';
import type { ScoreProblem } from './score-problem.ts';
import { splitRows } from './split-rows.ts';
import { subspaceFactors } from './subspace-factors.ts';

/**
 * Key factors whose pairs from `firstSlow` on (j and j + D/2 for j >= firstSlow) are one subspace of all these rows of all
 * heads, real, as if RoPE did not turn them; the other pairs stay as in `phasors`.
 *
 * The subspace loses least as the queries see it. Which of its directions lie in which pair matters, since RoPE still
 * turns pair j by its own angle: the encoder is the one of this subspace that comes nearest to that of the phasors.
 */
export function joinSlowPairs(
  { moment, queryMoments }: Pick<ScoreProblem, 'moment' | 'queryMoments'>,
  phasors: GroupFactors,
  firstSlow: number,
): GroupFactors {
  const headDim = phasors.encoder.rows;
  const half = headDim / 2;
  const slow = Array.from({ length: headDim }, (_, row) => row).filter((row) => row % half >= firstSlow);
  const slowOfAll = phasors.decoders.flatMap((_, head) => slow.map((row) => head * headDim + row));
  const slowMoment = selectBlock(moment, slowOfAll, slowOfAll);
  const metric = queryMoments.map((block) => selectBlock(block, slow, slow));

  const subspace = subspaceFactors(slowMoment, slow.length, slow.length, metric).encoder;
  const near = selectBlock(phasors.encoder, slow, slowOfAll);
  const encoder = multiply(transpose(regress(subspace, transpose(near), slowMoment)), subspace);
  const decoder = transpose(regress(encoder, undefined, slowMoment));

  const joined = {
    encoder: copy(phasors.encoder),
    decoders: phasors.decoders.map(copy),
  };
  place(joined.encoder, encoder, slow, slowOfAll);
  splitRows(decoder, slow.length).forEach((block, head) => {
    place(joined.decoders[head]!, block, slow, slow);
  });
  return joined;
}

/** (A C A^T)^-1 A C Y: the least-squares coefficients of Y^T u from A u, where C = E[u u^T]; Y = I when left out. */
function regress(encoder: Matrix, target: Matrix | undefined, moment: Matrix): Matrix {
  const rows = multiply(encoder, moment);
  const gram = multiplyTransposed(rows, encoder);
  return solveRidge(gram, target === undefined ? rows : multiply(rows, target), ridgeOf(gram));
}

function copy({ rows, cols, data }: Matrix): Matrix {
  return createMatrix(rows, cols, data.slice());
}

/** Writes a block to the given rows and columns. */
function place(target: Matrix, block: Matrix, rows: readonly number[], columns: readonly number[]): void {
  rows.forEach((row, blockRow) => {
    columns.forEach((column, blockColumn) => {
      target.data[row * target.cols + column] = block.data[blockRow * block.cols + blockColumn]!;
    });
  });
}
