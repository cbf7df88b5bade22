import type { RopeParameters } from '@kvlr/core';
import {
  addTo,
  createMatrix,
  hstack,
  innerProduct,
  type Matrix,
  multiply,
  multiplyTransposed,
  selectTiles,
  solveRidge,
  splitRows,
  trace,
  transpose,
} from '@kvlr/linalg';
import { ropeFrequencies } from '@kvlr/rope';
import { keyMoment, queryMetric, scoreWeight } from '../moments.ts';
import type { GroupFactors } from '../ports.ts';
import { requireRope, type SourceLayer } from '../source-layer.ts';
import { averageRotated, type RotationAverages, rotationAverages } from './rotation-averages.ts';

/** What the scores of some heads depend on. */
export interface ScoreProblem {
  /** C = E[k k^T] of the group's keys before RoPE, [t*D, t*D]. */
  moment: Matrix;
  /** Q_i, for each KV head the (weighted) sum over its query heads of E[q q^T] before RoPE, [D, D]. */
  queryMoments: readonly Matrix[];
  averages: RotationAverages;
}

/** Near distances count most, so that longer contexts than this would change little. */
const mostTokens = 2048;

/**
 * The scores of some heads on average over the distance of query and key in texts of `tokens` tokens: by default the model's
 * context or window, at most 2048. Heads count by how much their scores move the output.
 *
 * @param coordinates Those of a head that rotate, n: j and j + n/2 of them are pair j.
 */
export function scoreProblemOf(
  layer: SourceLayer,
  heads: readonly number[],
  coordinates: readonly number[],
  tokens = longestDistance(layer),
): ScoreProblem {
  return {
    moment: keyMoment(layer, heads, 'activations', coordinates),
    queryMoments: queryMetric(layer, heads, 'projected', (queryHead) => scoreWeight(layer, queryHead), coordinates),
    averages: averagesOf(requireRope(layer), coordinates.length, tokens),
  };
}

function longestDistance({ shape, layer }: SourceLayer): number {
  return Math.min(shape.maxPositionEmbeddings, shape.layers[layer]!.window ?? mostTokens, mostTokens);
}

/** The same for every group and layer of a model, and not quick: kept with the RoPE parameters that they belong to. */
const knownAverages = new WeakMap<RopeParameters, Map<string, RotationAverages>>();

function averagesOf(rope: RopeParameters, rotaryDim: number, tokens: number): RotationAverages {
  const ofRope = knownAverages.get(rope) ?? new Map<string, RotationAverages>();
  knownAverages.set(rope, ofRope);
  const key = `${rotaryDim} ${tokens}`;
  const averages = ofRope.get(key) ?? rotationAverages(ropeFrequencies(rope, rotaryDim).frequencies, tokens);
  ofRope.set(key, averages);
  return averages;
}

/** sum_i tr(Q_i E[R C_ii R^T]): the expected square of the scores. */
function totalScore({ moment, queryMoments, averages }: ScoreProblem): number {
  let total = 0;
  queryMoments.forEach((queryMoment, head) => {
    const own = selectTiles(moment.data, queryMoment.rows, [head]);
    total += innerProduct(queryMoment, averageRotated(own, averages, 'forward'));
  });
  return total;
}

/**
 * Expected squared error of the scores under any factors, as a share of their expected square; 0 where there are no scores.
 * What `fitScoreFactors` minimises, and what tells other factors of the same keys apart.
 */
export function lostScoreShare(problem: ScoreProblem, factors: GroupFactors): number {
  const total = totalScore(problem);
  if (!(total > 0)) return 0;
  let lost = total;
  for (const { square, product } of scoreProducts(problem, factors)) {
    lost += square;
    lost -= 2 * product;
  }
  return Math.max(0, lost / total);
}

/** For each head the expected square of its scores under any factors, and their expected product with the true ones. */
export function scoreProducts(
  { moment, queryMoments, averages }: ScoreProblem,
  { encoder, decoders }: GroupFactors,
): { square: number; product: number }[] {
  const crossMoments = multiplyTransposed(moment, encoder);
  const gram = averageRotated(multiply(encoder, crossMoments), averages, 'forward');
  return splitRows(crossMoments, decoders[0]!.rows).map((cross, head) => {
    const weighed = multiply(queryMoments[head]!, decoders[head]!);
    return {
      square: innerProduct(weighed, multiply(decoders[head]!, gram)),
      product: innerProduct(weighed, averageRotated(cross, averages, 'forward')),
    };
  });
}

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
 * keys k, and q, k, R are taken as independent; for a wide head, whose R on the side of A repeats that of a head, as for one of
 * width D. Alternating least squares: with A fixed each B_i, and with the B_i fixed A, solves a system as large as the shared
 * head is wide, because the averages over R act entry by entry. The error falls at every step; `start` decides
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
  const decoders = splitRows(crossMoments, queryMoments[0]!.rows).map((cross, head) => {
    const target = averageRotated(cross, averages, 'forward');
    const decoder = transpose(solveRidge(gram, transpose(target), ridgeOf(gram)));
    explained += innerProduct(multiply(queryMoments[head]!, decoder), target);
    return decoder;
  });
  return { decoders, explained };
}

/** A = (sum_i E[R^T B_i^T Q_i B_i R])^-1 [E[R^T B_1^T Q_1 R] ... E[R^T B_t^T Q_t R]]. */
function fitEncoder({ queryMoments, averages }: ScoreProblem, decoders: readonly Matrix[]): Matrix {
  const width = decoders[0]!.cols;
  const gram = createMatrix(width, width);
  const targets = decoders.map((decoder, head) => {
    const weighed = multiply(transpose(decoder), queryMoments[head]!);
    addTo(gram, averageRotated(multiply(weighed, decoder), averages, 'backward'));
    return averageRotated(weighed, averages, 'backward');
  });
  return solveRidge(gram, hstack(...targets), ridgeOf(gram));
}

const relativeRidge = 1e-11;

/** Ridge of a least-squares solve, relative to the mean diagonal: enough to survive keys of deficient rank. */
export function ridgeOf(gram: Matrix): number {
  return (relativeRidge * trace(gram)) / gram.rows;
}

/**
 * The same key factors in another gauge: each frequency pair of the shared key is scaled, which RoPE allows, to the mean
 * energy that its frequency has in the heads. Keeps the new weights in the range of the old ones.
 */
export function normalizePairs({ encoder, decoders }: GroupFactors, moment: Matrix): GroupFactors {
  const headDim = decoders[0]!.rows;
  const half = headDim / 2;
  const wideHalf = encoder.rows / 2;
  const encodedRows = multiply(encoder, moment);
  const encodedEnergy = (row: number) => {
    let sum = 0;
    for (let c = 0; c < encoder.cols; c++) {
      sum += encoder.data[row * encoder.cols + c]! * encodedRows.data[row * encoder.cols + c]!;
    }
    return sum;
  };
  const sourceEnergy = (row: number) => {
    let sum = 0;
    for (let place = row; place < moment.rows; place += headDim) sum += moment.data[place * (moment.cols + 1)]!;
    return sum / decoders.length;
  };
  const scales = Array.from({ length: wideHalf }, (_, p) => {
    const j = p % half;
    const ratio = (sourceEnergy(j) + sourceEnergy(j + half)) / (encodedEnergy(p) + encodedEnergy(p + wideHalf));
    return ratio > 0 && Number.isFinite(ratio) ? Math.sqrt(ratio) : 1;
  });
  return {
    encoder: {
      ...encoder,
      data: encoder.data.map((value, index) => value * scales[Math.floor(index / encoder.cols) % wideHalf]!),
    },
    decoders: decoders.map((decoder) => ({
      ...decoder,
      data: decoder.data.map((value, index) => value / scales[index % wideHalf]!),
    })),
  };
}
