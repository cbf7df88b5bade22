import { createMatrix, type Matrix, multiply, multiplyTransposed } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import { innerProduct } from './inner-product.ts';
import { averageRotated, type RotationAverages } from './rotation-averages.ts';
import { splitRows } from './split-rows.ts';

export interface ScoreProblem {
  /** C = E[k k^T] of the group's keys before RoPE, [t*D, t*D]. */
  moment: Matrix;
  /** Q_i, for each KV head the (weighted) sum over its query heads of E[q q^T] before RoPE, [D, D]. */
  queryMoments: readonly Matrix[];
  averages: RotationAverages;
}

/** sum_i tr(Q_i E[R C_ii R^T]): the expected square of the scores. */
export function totalScore({ moment, queryMoments, averages }: ScoreProblem): number {
  let total = 0;
  queryMoments.forEach((queryMoment, head) => {
    const headDim = queryMoment.rows;
    const own = createMatrix(headDim, headDim);
    for (let row = 0; row < headDim; row++) {
      const begin = (head * headDim + row) * moment.cols + head * headDim;
      own.data.set(moment.data.subarray(begin, begin + headDim), row * headDim);
    }
    total += innerProduct(queryMoment, averageRotated(own, averages, 'forward'));
  });
  return total;
}

/**
 * Expected squared error of the scores under any factors, as a share of their expected square; 0 where there are no scores.
 * What `fitScoreFactors` minimises, and what tells other factors of the same keys apart.
 */
export function lostScoreShare(problem: ScoreProblem, { encoder, decoders }: GroupFactors): number {
  const { moment, queryMoments, averages } = problem;
  const total = totalScore(problem);
  if (!(total > 0)) return 0;
  const crossMoments = multiplyTransposed(moment, encoder);
  const gram = averageRotated(multiply(encoder, crossMoments), averages, 'forward');
  let lost = total;
  splitRows(crossMoments, encoder.rows).forEach((cross, head) => {
    const weighed = multiply(queryMoments[head]!, decoders[head]!);
    lost += innerProduct(weighed, multiply(decoders[head]!, gram));
    lost -= 2 * innerProduct(weighed, averageRotated(cross, averages, 'forward'));
  });
  return Math.max(0, lost / total);
}
