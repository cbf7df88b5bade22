import {
  addTo,
  createMatrix,
  innerProduct,
  type Matrix,
  multiply,
  multiplyTransposed,
  scale,
  transpose,
} from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/**
 * The error of a group's values in the output of its block: query head h of the group attends to the values of all t heads
 * of the group, u_h = sum_n a_h(n) v_S(n), and reads the one of its own KV head.
 */
export interface AttendedProblem {
  /** E[u_h u_g^T] of query heads h (outer) and g, [n][n] of [tD, tD]. */
  moments: readonly (readonly Matrix[])[];
  /** W_O,h^T W_O,g, [n][n] of [D, D]. */
  grams: readonly (readonly Matrix[])[];
  /** Place in the group of the KV head that each query head reads, [n]. */
  places: readonly number[];
}

export interface AttendedFit {
  factors: GroupFactors;
  /** E|sum_h W_O,h (S_h - B_h A) u_h|^2 as a share of E|sum_h W_O,h S_h u_h|^2. */
  lostShare: number;
}

const maximumRounds = 10;
const conjugateSteps = 6;
/** A round that gains less than this share of the error ends the alternation. */
const smallestGain = 5e-3;

/**
 * Factors A [r, tD] and B_i [D, r] of a group's values that minimise E|sum_h W_O,h (S_h - B_i(h) A) u_h|^2 over the query
 * heads of the group: alternating least squares. The terms of different query heads go together, and those
 * that read one KV head share its B, so each half is solved by conjugate gradients on the two-sided products rather than
 * by a system of its own size. The error never rises; `start` decides which of the minima is reached.
 */
export function fitAttendedFactors(problem: AttendedProblem, start: GroupFactors): AttendedFit {
  const total = errorOf(problem, residuals(problem, { ...start, encoder: zerosLike(start.encoder) }));
  if (!(total > 0)) return { factors: start, lostShare: 0 };
  let factors = start;
  let error = errorOf(problem, residuals(problem, factors));
  for (let round = 0; round < maximumRounds; round++) {
    const decoders = improve(problem, factors, 'decoders');
    const both = improve(problem, decoders, 'encoder');
    const next = errorOf(problem, residuals(problem, both));
    if (!(next < error)) break;
    const gain = error - next;
    factors = both;
    error = next;
    if (gain < smallestGain * error) break;
  }
  return { factors, lostShare: error / total };
}

/** S_h - B_i(h) A for every query head, [D, tD]. */
function residuals({ places }: AttendedProblem, { encoder, decoders }: GroupFactors): Matrix[] {
  return places.map((place) => {
    const residual = scale(multiply(decoders[place]!, encoder), -1);
    for (let row = 0; row < residual.rows; row++)
      residual.data[row * residual.cols + place * residual.rows + row]! += 1;
    return residual;
  });
}

/** P_h = sum_g G_hg E_g C_gh: half the gradient of the error to E_h. */
function pulls({ moments, grams }: AttendedProblem, errors: readonly Matrix[]): Matrix[] {
  return errors.map((_, h) => {
    const sum = zerosLike(errors[0]!);
    for (const [g, error] of errors.entries()) addTo(sum, multiply(multiply(grams[h]![g]!, error), moments[g]![h]!));
    return sum;
  });
}

function errorOf(problem: AttendedProblem, errors: readonly Matrix[]): number {
  return pulls(problem, errors).reduce((sum, pull, h) => sum + innerProduct(pull, errors[h]!), 0);
}

/** Conjugate gradients on the quadratic error in one side of the factors, the other held. */
function improve(problem: AttendedProblem, factors: GroupFactors, side: 'encoder' | 'decoders'): GroupFactors {
  const { encoder, decoders } = factors;
  const { places } = problem;
  // What a change of the side changes in every E_h, less its sign, and the adjoint of that.
  const spread = (change: readonly Matrix[]): Matrix[] =>
    places.map((place) =>
      side === 'encoder' ? multiply(decoders[place]!, change[0]!) : multiply(change[place]!, encoder),
    );
  const collect = (perHead: readonly Matrix[]): Matrix[] => {
    if (side === 'encoder') {
      const sum = zerosLike(encoder);
      for (const [h, part] of perHead.entries()) addTo(sum, multiply(transpose(decoders[places[h]!]!), part));
      return [sum];
    }
    const sums = decoders.map(zerosLike);
    for (const [h, part] of perHead.entries()) addTo(sums[places[h]!]!, multiplyTransposed(part, encoder));
    return sums;
  };
  const current = (side === 'encoder' ? [encoder] : decoders).map((part) => scale(part, 1));
  const residual = collect(pulls(problem, residuals(problem, factors)));
  const direction = residual.map((part) => scale(part, 1));
  let size = inner(residual, residual);
  const first = size;
  for (let step = 0; step < conjugateSteps && size > 1e-20 * first && size > 0; step++) {
    const curved = collect(pulls(problem, spread(direction)));
    const length = size / inner(direction, curved);
    if (!Number.isFinite(length)) break;
    for (const [index, part] of current.entries()) addTo(part, direction[index]!, length);
    for (const [index, part] of residual.entries()) addTo(part, curved[index]!, -length);
    const next = inner(residual, residual);
    direction.forEach((part, index) => {
      part.data.forEach((value, entry) => {
        part.data[entry] = residual[index]!.data[entry]! + (next / size) * value;
      });
    });
    size = next;
  }
  return side === 'encoder' ? { encoder: current[0]!, decoders } : { encoder, decoders: current };
}

/** Inner product of all parts of one side. */
function inner(left: readonly Matrix[], right: readonly Matrix[]): number {
  return left.reduce((sum, part, index) => sum + innerProduct(part, right[index]!), 0);
}

function zerosLike({ rows, cols }: Matrix): Matrix {
  return createMatrix(rows, cols);
}
