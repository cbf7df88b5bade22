import {
  createMatrix,
  type Matrix,
  multiply,
  multiplyTransposed,
  selectBlock,
  solveRidge,
  splitRows,
  transpose,
} from '@kvlr/linalg';
import { complexKeyMoments } from '@kvlr/rope';
import { alignPhases } from '../factors/align.ts';
import { fitPhasors, type PhasorField, perFrequency } from '../factors/phasors.ts';
import {
  fitScoreFactors,
  lostScoreShare,
  normalizePairs,
  ridgeOf,
  type ScoreProblem,
  scoreProblemOf,
} from '../factors/scores.ts';
import { meanPoolFactors, subspaceFactors } from '../factors/subspace.ts';
import { keyMoment, type MomentSource, queryEnergy } from '../moments.ts';
import type { GroupFactors, KeyMethod } from '../ports.ts';

/** One key per group: the mean of its heads' keys. */
export const meanPoolKeys: KeyMethod = (layer, heads) => meanPoolFactors(heads.length, layer.shape.headDim);

/**
 * One key per group: the mean of its heads' keys, after a rotation of each head at each frequency that makes them agree.
 * Rotations of one frequency commute with RoPE, so nothing else is lost.
 */
export const alignedKeys: KeyMethod = (layer, heads) => {
  const gammas = complexKeyMoments(keyMoment(layer, heads, 'activations').data, heads.length, layer.shape.headDim);
  return perFrequency(
    gammas.map((gamma) => [alignPhases(gamma)]),
    heads.length,
  );
};

export interface PhasorKeySettings {
  moment: MomentSource;
  field: PhasorField;
  /** 'equal' counts every head's key error alike; 'query' by the energy of the queries that read it. */
  weights: 'equal' | 'query';
}

/**
 * One key per group and exact under RoPE: for each frequency the heads' keys, as complex numbers, are multiples of one, or of m
 * in a head m times as wide. Rank m per frequency is all that grouped-query attention can hold with heads of that width.
 */
export function phasorKeys({ moment, field, weights }: PhasorKeySettings): KeyMethod {
  return (layer, heads, width) => {
    const half = layer.shape.headDim / 2;
    const gammas = complexKeyMoments(keyMoment(layer, heads, moment).data, heads.length, layer.shape.headDim);
    const energy = weights === 'query' ? queryEnergy(layer, heads).data : new Float64Array(heads.length * half).fill(1);
    const factors = gammas.map((gamma, frequency) => {
      const weightsHere = Float64Array.from(heads, (_, place) => energy[place * half + frequency]!);
      return fitPhasors(gamma, weightsHere, field, width / layer.shape.headDim);
    });
    return perFrequency(factors, heads.length);
  };
}

const weightedPhasorKeys = phasorKeys({ moment: 'activations', field: 'complex', weights: 'query' });

export interface AveragedKeySettings {
  /** Length of text over which distances of query and key are averaged. Left out: the model's context, at most 2048. */
  tokens?: number;
}

/**
 * One key per group that gives the best scores on average over the distance of query and key, and under ordinary RoPE.
 * Starts from the complex factors, which are exact at every distance but hold only as much of a frequency as the shared head has
 * pairs for it, and mixes frequencies where that gains more, over the distances that count, than it costs: slow pairs among
 * themselves above all.
 */
export function averagedKeys({ tokens }: AveragedKeySettings = {}): KeyMethod {
  return (layer, heads, width) => {
    const problem = scoreProblemOf(layer, heads, tokens);
    return normalizePairs(fitScoreFactors(problem, weightedPhasorKeys(layer, heads, width)).factors, problem.moment);
  };
}

/** The search for the split ends when so many pairs in a row have not improved on the best. */
const patience = 4;

/** A split has to lose this share less than the best so far, or it is rounding. */
const smallestGain = 1e-6;

/**
 * One key per group: complex rank-one factors at the fast frequencies, and at the slow ones a real subspace of all heads and
 * frequencies together, as if RoPE did not rotate them. The slow part can then hold what the heads do not have in common, and errs
 * under RoPE with the distance of query and key: folded into ordinary grouped-query attention it is only approximate.
 *
 * Where slow begins is decided for each group by the statistics: the split that loses least of the scores on average over
 * distances, as 'rope-averaged' counts it.
 */
export const jointKeys: KeyMethod = (layer, heads) => {
  const problem = scoreProblemOf(layer, heads);
  const rankOne = weightedPhasorKeys(layer, heads, layer.shape.headDim);
  let best = { factors: rankOne, lost: lostScoreShare(problem, rankOne) };
  let unsuccessful = 0;
  for (let first = layer.shape.headDim / 2 - 1; first >= 0 && unsuccessful < patience; first--) {
    const factors = joinSlowPairs(problem, rankOne, first);
    const lost = lostScoreShare(problem, factors);
    unsuccessful++;
    if (lost < best.lost * (1 - smallestGain) - Number.EPSILON) {
      best = { factors, lost };
      unsuccessful = 0;
    }
  }
  return normalizePairs(best.factors, problem.moment);
};

/**
 * Key factors whose pairs from `firstSlow` on (j and j + D/2 for j >= firstSlow) are one subspace of all these rows of all
 * heads, real, as if RoPE did not rotate them; the other pairs stay as in `rankOne`.
 *
 * The subspace loses least as the queries see it. Which of its directions lie in which pair matters, since RoPE still
 * rotates pair j by its own angle: the encoder is the one of this subspace that comes nearest to that of the rank-one factors.
 */
export function joinSlowPairs(
  { moment, queryMoments }: Pick<ScoreProblem, 'moment' | 'queryMoments'>,
  rankOne: GroupFactors,
  firstSlow: number,
): GroupFactors {
  const headDim = rankOne.encoder.rows;
  const half = headDim / 2;
  const slow = Array.from({ length: headDim }, (_, row) => row).filter((row) => row % half >= firstSlow);
  const slowOfAll = rankOne.decoders.flatMap((_, head) => slow.map((row) => head * headDim + row));
  const slowMoment = selectBlock(moment, slowOfAll, slowOfAll);
  const metric = queryMoments.map((block) => selectBlock(block, slow, slow));

  const subspace = subspaceFactors(slowMoment, slow.length, slow.length, metric).encoder;
  const near = selectBlock(rankOne.encoder, slow, slowOfAll);
  const encoder = multiply(transpose(regress(subspace, transpose(near), slowMoment)), subspace);
  const decoder = transpose(regress(encoder, undefined, slowMoment));

  const joined = { encoder: copyOf(rankOne.encoder), decoders: rankOne.decoders.map(copyOf) };
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

function copyOf({ rows, cols, data }: Matrix): Matrix {
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
