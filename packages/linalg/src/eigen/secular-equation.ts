import { KvlrError } from '@kvlr/core';

const maximumIterations = 100;

/** Values of the secular function and of its two parts at one point. */
interface Evaluation {
  value: number;
  /** Bound of the rounding error of the value, in units of 2^-52. */
  uncertainty: number;
  slopeBefore: number;
  slopeAfter: number;
}

/**
 * The root number `index` of f(x) = 1 + sum_j weights[j] / (poles[j] - x), for ascending, distinct poles and positive
 * weights: it lies between pole `index` and the next one, the last one within the sum of the weights of its pole. That is
 * eigenvalue `index` of diag(poles) + w w^T with w_j^2 = weights[j]. `gaps` becomes poles[j] - root, each to full
 * relative precision however close the root is to a pole: the unknown is its distance to the nearest pole.
 * Rational interpolation of both parts of f ("middle way"; Li, LAPACK Working Note 89, 1993), bisection where that strays.
 * Throws KvlrError 'numerical' (no convergence).
 */
export function solveSecularEquation(
  poles: Float64Array,
  weights: Float64Array,
  index: number,
  gaps: Float64Array,
): number {
  const start = startingPoint(poles, weights, index, gaps);
  const origin = poles[start.origin]!;
  let { lower, upper, offset } = start;
  let previous = Number.POSITIVE_INFINITY;
  for (let iteration = 0; iteration < maximumIterations; iteration += 1) {
    const f = evaluate(poles, weights, index, origin, offset, gaps);
    if (Math.abs(f.value) <= Number.EPSILON * f.uncertainty) return origin + offset;
    if (f.value < 0) lower = offset;
    else upper = offset;
    let next = interpolate(f, gaps, index, offset);
    const stalled = Math.abs(f.value) > 0.5 * previous;
    if (stalled || !(next > lower && next < upper)) next = middle(lower, upper);
    if (next === offset || Math.abs(next - offset) <= Number.EPSILON * Math.abs(offset)) return origin + offset;
    previous = stalled ? Number.POSITIVE_INFINITY : Math.abs(f.value);
    offset = next;
  }
  throw new KvlrError('numerical', {
    message: `expected eigenvalue ${index} of ${poles.length} to converge in ${maximumIterations} iterations, it did not`,
    data: { eigenvalue: index, size: poles.length },
  });
}

/**
 * The pole next to the root, an interval of distances from it that holds the root, and a first guess from the two poles
 * around the root, the rest of f being frozen in the middle between them.
 */
function startingPoint(poles: Float64Array, weights: Float64Array, index: number, gaps: Float64Array) {
  const pole = poles[index]!;
  const weight = weights[index]!;
  if (index === poles.length - 1) {
    const upper = 2 * weights.reduce((sum, value) => sum + value, 0);
    return { origin: index, lower: 0, upper, offset: upper / 2 };
  }
  const gap = poles[index + 1]! - pole;
  const nextWeight = weights[index + 1]!;
  const half = 0.5 * gap;
  const { value } = evaluate(poles, weights, index, pole, half, gaps);
  const rest = value + (weight - nextWeight) / half;
  if (value >= 0) {
    const offset = smallerRoot(rest * gap + weight + nextWeight, weight * gap, rest);
    return { origin: index, lower: 0, upper: half, offset: offset > 0 && offset <= half ? offset : half };
  }
  const offset = smallerRoot(weight + nextWeight - rest * gap, -nextWeight * gap, rest);
  return { origin: index + 1, lower: -half, upper: 0, offset: offset < 0 && offset >= -half ? offset : -half };
}

function evaluate(
  poles: Float64Array,
  weights: Float64Array,
  index: number,
  origin: number,
  offset: number,
  gaps: Float64Array,
): Evaluation {
  let before = 0;
  let slopeBefore = 0;
  let partialSums = 0;
  for (let j = 0; j <= index; j += 1) {
    const gap = poles[j]! - origin - offset;
    const inverse = 1 / gap;
    const term = weights[j]! * inverse;
    gaps[j] = gap;
    before += term;
    slopeBefore += term * inverse;
    partialSums -= before;
  }
  let after = 0;
  let slopeAfter = 0;
  for (let j = poles.length - 1; j > index; j -= 1) {
    const gap = poles[j]! - origin - offset;
    const inverse = 1 / gap;
    const term = weights[j]! * inverse;
    gaps[j] = gap;
    after += term;
    slopeAfter += term * inverse;
    partialSums += after;
  }
  // Every addition rounds its partial sum, every term carries a few roundings, and the offset itself one.
  const uncertainty = 1 + partialSums + 8 * (after - before) + Math.abs(offset) * (slopeBefore + slopeAfter);
  return { value: 1 + before + after, uncertainty, slopeBefore, slopeAfter };
}

/** The zero of c + s / (pole - x) + t / (next pole - x), which agrees with f and the slopes of its parts at the offset. */
function interpolate(f: Evaluation, gaps: Float64Array, index: number, offset: number): number {
  const gap = gaps[index]!;
  const slope = f.slopeBefore + f.slopeAfter;
  if (index === gaps.length - 1) return (gap * gap * slope) / (f.value - gap * slope);
  const nextGap = gaps[index + 1]!;
  const c = f.value - gap * f.slopeBefore - nextGap * f.slopeAfter;
  const a = (gap + nextGap) * f.value - gap * nextGap * slope;
  return offset + smallerRoot(a, gap * nextGap * f.value, c);
}

/** Of the roots of c x^2 - a x + b the one that stays finite when c goes to zero, without cancellation. */
function smallerRoot(a: number, b: number, c: number): number {
  const root = Math.sqrt(Math.abs(a * a - 4 * b * c));
  return a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root);
}

/** The geometric middle where both ends have one sign, for the root may be orders of magnitude closer to the pole. */
function middle(lower: number, upper: number): number {
  if (lower > 0) return Math.sqrt(lower) * Math.sqrt(upper);
  if (upper < 0) return -Math.sqrt(-lower) * Math.sqrt(-upper);
  return 0.5 * (lower + upper);
}
