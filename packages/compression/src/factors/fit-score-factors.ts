import { createMatrix, type Matrix, multiply, multiplyTransposed, solveRidge, transpose } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import { innerProduct } from './inner-product.ts';
import { ridgeOf } from './ridge-of.ts';
import { averageRotated } from './rotation-averages.ts';
import { type ScoreProblem, totalScore } from './score-problem.ts';
import { splitRows } from './split-rows.ts';

export interface ScoreFit {
  factors: GroupFactors;
  /** Expected squared error of the scores as a share of their expected square, 0 to 1. */
  lostShare: number;
}

/** A gain below this share of the error ends the alternation, as does an error that is lost in rounding. */
const smallestGain = 5e-4;
const negligibleShare = 1e-13;
const maximumRounds = 100;
/**
 * Factors of a group's keys that minimise the expected squared error of the scores over relative positions,
 * sum_i E |q_i^T (B_i R A - R S_i) k|^2, where R is RoPE's rotation from key to query, S_i picks head i out of the group's
 * keys k, and q, k, R are taken as independent. Alternating least squares: with A fixed each B_i, and with the B_i fixed A,
 * solves a [D, D] system, because the averages over R act entry by entry. The error falls at every step; `start` decides
 * which of the minima is reached.
 */
export function fitScoreFactors(problem: ScoreProblem, start: GroupFactors): ScoreFit {
  const total = totalScore(problem);
  if (!(total > 0)) return { factors: start, lostShare: 0 };
  let encoder = start.encoder;
  let { decoders, explained } = fitDecoders(problem, encoder);
  for (let round = 0; round < maximumRounds; round++) {
    const lost = total - explained;
    if (lost < negligibleShare * total) break;
    const nextEncoder = fitEncoder(problem, decoders);
    const next = fitDecoders(problem, nextEncoder);
    if (!(next.explained > explained)) break;
    const gain = next.explained - explained;
    encoder = nextEncoder;
    ({ decoders, explained } = next);
    if (gain < smallestGain * lost) break;
  }
  return { factors: { encoder, decoders }, lostShare: Math.max(0, 1 - explained / total) };
}

/** B_i = E[R S_i C A^T R^T] E[R A C A^T R^T]^-1, and the part of the scores that they explain. */
function fitDecoders({ moment, queryMoments, averages }: ScoreProblem, encoder: Matrix) {
  const crossMoments = multiplyTransposed(moment, encoder);
  const gram = averageRotated(multiply(encoder, crossMoments), averages, 'forward');
  let explained = 0;
  const decoders = splitRows(crossMoments, encoder.rows).map((cross, head) => {
    const target = averageRotated(cross, averages, 'forward');
    const decoder = transpose(solveRidge(gram, transpose(target), ridgeOf(gram)));
    explained += innerProduct(multiply(queryMoments[head]!, decoder), target);
    return decoder;
  });
  return { decoders, explained };
}

/** A = (sum_i E[R^T B_i^T Q_i B_i R])^-1 [E[R^T B_1^T Q_1 R] ... E[R^T B_t^T Q_t R]]. */
function fitEncoder({ queryMoments, averages }: ScoreProblem, decoders: readonly Matrix[]): Matrix {
  const headDim = decoders[0]!.rows;
  const gram = createMatrix(headDim, headDim);
  const target = createMatrix(headDim, decoders.length * headDim);
  decoders.forEach((decoder, head) => {
    const weighed = multiply(transpose(decoder), queryMoments[head]!);
    const ownGram = averageRotated(multiply(weighed, decoder), averages, 'backward');
    const ownTarget = averageRotated(weighed, averages, 'backward');
    ownGram.data.forEach((value, index) => {
      gram.data[index]! += value;
    });
    for (let row = 0; row < headDim; row++) {
      target.data.set(ownTarget.data.subarray(row * headDim, (row + 1) * headDim), row * target.cols + head * headDim);
    }
  });
  return solveRidge(gram, target, ridgeOf(gram));
}
