import { everyHead } from '@kvlr/core';
import {
  type ComplexMatrix,
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
import { alignPhases, alignRotations } from '../factors/align.ts';
import { fitPhasors, type PhasorField, perFrequency } from '../factors/phasors.ts';
import {
  fitScoreFactors,
  lostScoreShare,
  normalizePairs,
  ridgeOf,
  type ScoreProblem,
  scoreProblemOf,
} from '../factors/scores.ts';
import { meanPoolFactors, normalizeEnergy, subspaceFactors } from '../factors/subspace.ts';
import { byPart, type PartMethod } from '../key-parts.ts';
import { keyMoment, type MomentSource, queryEnergy, queryMetric, scoreWeight } from '../moments.ts';
import type { GroupFactors, KeyMethod } from '../ports.ts';
import type { SourceLayer } from '../source-layer.ts';

/** One key per group: the mean of its heads' keys. */
export const meanPoolKeys: KeyMethod = (layer, heads) => meanPoolFactors(heads.length, layer.shape.headDim);

/**
 * One key per group: the mean of its heads' keys, after a rotation of each head at each frequency that makes them agree.
 * Rotations of one frequency commute with RoPE, so nothing else is lost. Without RoPE any orthogonal map will do.
 */
export const alignedKeys: KeyMethod = /* @__PURE__ */ byPart({
  rotated: (layer, heads, _, coordinates) => {
    const gammas = complexMoments(layer, heads, 'activations', coordinates);
    return perFrequency(
      gammas.map((gamma) => [alignPhases(gamma)]),
      heads.length,
    );
  },
  still: (layer, heads, _, coordinates) =>
    alignRotations(keyMoment(layer, heads, 'activations', coordinates), coordinates.length),
});

/** Gamma_j of the pairs of these coordinates. */
function complexMoments(
  layer: SourceLayer,
  heads: readonly number[],
  source: MomentSource,
  coordinates: readonly number[],
): ComplexMatrix[] {
  return complexKeyMoments(keyMoment(layer, heads, source, coordinates).data, heads.length, coordinates.length);
}

export interface PhasorKeySettings {
  moment: MomentSource;
  field: PhasorField;
  /** 'equal' counts every head's key error alike; 'query' by the energy of the queries that read it. */
  weights: 'equal' | 'query';
}

/**
 * One key per group and exact under RoPE: for each frequency the heads' keys, as complex numbers, are multiples of one, or of m
 * in a head m times as wide. Rank m per frequency is all that grouped-query attention can hold with heads of that width.
 * What RoPE does not rotate is a subspace, as values are: there every linear map is exact.
 */
export function phasorKeys(settings: PhasorKeySettings): KeyMethod {
  const { moment, weights } = settings;
  return byPart({
    rotated: phasors(settings),
    still: subspaceKeys({ moment, metric: weights === 'query' ? 'query' : 'identity' }),
  });
}

function phasors({ moment, field, weights }: PhasorKeySettings): PartMethod {
  return (layer, heads, width, coordinates) => {
    const half = coordinates.length / 2;
    const gammas = complexMoments(layer, heads, moment, coordinates);
    const energy =
      weights === 'query' ? queryEnergy(layer, heads, coordinates).data : new Float64Array(heads.length * half).fill(1);
    const factors = gammas.map((gamma, frequency) => {
      const weightsHere = Float64Array.from(heads, (_, place) => energy[place * half + frequency]!);
      return fitPhasors(gamma, weightsHere, field, width / coordinates.length);
    });
    return perFrequency(factors, heads.length);
  };
}

const weightedPhasors = /* @__PURE__ */ phasors({ moment: 'activations', field: 'complex', weights: 'query' });

export interface SubspaceKeySettings {
  moment: MomentSource;
  /** 'identity' counts errors of the keys; 'query' counts them as the logits see them. */
  metric: 'identity' | 'query';
}

/**
 * The directions of keys that no position rotates which lose least (arXiv 2406.07056, section 3: the paper's keys without RoPE).
 * Exact at any distance, folded into the projections of queries and keys.
 */
function subspaceKeys({ moment: source, metric }: SubspaceKeySettings): PartMethod {
  return (layer, heads, width, coordinates) => {
    const moment = keyMoment(layer, heads, source, coordinates);
    const weightOf = (queryHead: number) => scoreWeight(layer, queryHead);
    const blocks = metric === 'query' ? queryMetric(layer, heads, 'projected', weightOf, coordinates) : undefined;
    return normalizeEnergy(subspaceFactors(moment, coordinates.length, width, blocks), moment);
  };
}

/** `subspaceKeys` of layers whose keys do not rotate. */
export function stillKeys(settings: SubspaceKeySettings): KeyMethod {
  const method = subspaceKeys(settings);
  return (layer, heads, width) => method(layer, heads, width, everyHead(layer.shape.headDim));
}

/** Of keys less their mean, which softmax ignores. */
const centredSubspace = /* @__PURE__ */ subspaceKeys({ moment: 'centred', metric: 'query' });

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
  return byPart({
    rotated: (layer, heads, width, coordinates) => {
      const problem = scoreProblemOf(layer, heads, coordinates, tokens);
      const start = weightedPhasors(layer, heads, width, coordinates);
      return normalizePairs(fitScoreFactors(problem, start).factors, problem.moment);
    },
    still: centredSubspace,
  });
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
export const jointKeys: KeyMethod = /* @__PURE__ */ byPart({ rotated: jointPairs, still: centredSubspace });

function jointPairs(
  layer: SourceLayer,
  heads: readonly number[],
  width: number,
  coordinates: readonly number[],
): GroupFactors {
  const problem = scoreProblemOf(layer, heads, coordinates);
  const rankOne = weightedPhasors(layer, heads, width, coordinates);
  let best = { factors: rankOne, lost: lostScoreShare(problem, rankOne) };
  let unsuccessful = 0;
  for (let first = coordinates.length / 2 - 1; first >= 0 && unsuccessful < patience; first--) {
    const factors = joinSlowPairs(problem, rankOne, first);
    const lost = lostScoreShare(problem, factors);
    unsuccessful++;
    if (lost < best.lost * (1 - smallestGain) - Number.EPSILON) {
      best = { factors, lost };
      unsuccessful = 0;
    }
  }
  return normalizePairs(best.factors, problem.moment);
}

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
