import { KvlrError } from '@kvlr/core';

/** A scalar quantiser of the unit Gaussian: what each code stands for, and where one code ends and the next begins. */
export interface GaussianLevels {
  bits: number;
  /** Ascending, 2^bits of them, symmetric. */
  levels: Float64Array;
  /** Between the levels, halfway: 2^bits - 1 of them. */
  thresholds: Float64Array;
  /** Mean squared error of a unit Gaussian. */
  distortion: number;
}

const MOST_BITS = 8;
const made: GaussianLevels[] = [];

/**
 * The quantiser of 2^bits levels with the least mean squared error for a unit Gaussian (Max 1960; Lloyd 1982), bits from 0 to 8.
 * Its distortion is 1, 0.3634, 0.1175, 0.03454, 0.009497 for 0 to 4 bits. Throws 'invalid-argument' for other bits.
 */
export function gaussianLevels(bits: number): GaussianLevels {
  if (!Number.isInteger(bits) || bits < 0 || bits > MOST_BITS) {
    throw new KvlrError('invalid-argument', {
      message: `expected whole bits from 0 to ${MOST_BITS}, got ${bits}`,
      where: { argument: 'bits' },
      data: { bits },
    });
  }
  made[bits] ??= optimise(bits);
  return made[bits];
}

/** The code of x: how many thresholds lie at or below it. */
export function nearestLevel({ thresholds }: { thresholds: Float32Array | Float64Array }, x: number): number {
  let low = 0;
  let high = thresholds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x < thresholds[middle]!) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Levels that are the means of their cells, by Newton's method on the positive half, from levels that lie as densely as the cube root of
 * the density says (Panter and Dite 1951).
 */
function optimise(bits: number): GaussianLevels {
  const count = 2 ** bits;
  if (count === 1) return { bits, levels: Float64Array.of(0), thresholds: new Float64Array(0), distortion: 1 };
  const half = count / 2;
  const positive = Float64Array.from({ length: half }, (_, i) => Math.sqrt(3) * quantile((half + i + 0.5) / count));
  for (let round = 0; round < 100; round++) {
    const step = newtonStep(positive);
    step.forEach((change, i) => {
      positive[i]! += change;
    });
    if (step.every((change) => Math.abs(change) < 1e-14)) break;
  }
  const levels = Float64Array.from({ length: count }, (_, i) =>
    i < half ? -positive[half - 1 - i]! : positive[i - half]!,
  );
  const thresholds = Float64Array.from({ length: count - 1 }, (_, i) => (levels[i]! + levels[i + 1]!) / 2);
  // At levels that are the means of their cells, the error is what the levels leave of the variance.
  const kept = levels.reduce((sum, level, i) => {
    const from = i === 0 ? Number.NEGATIVE_INFINITY : thresholds[i - 1]!;
    const to = i === count - 1 ? Number.POSITIVE_INFINITY : thresholds[i]!;
    return sum + level * level * (cumulative(to) - cumulative(from));
  }, 0);
  return { bits, levels, thresholds, distortion: 1 - kept };
}

/** The change of ascending positive levels that makes each the mean of its cell, to first order: a tridiagonal system. */
function newtonStep(levels: Float64Array): Float64Array {
  const last = levels.length - 1;
  const factors = new Float64Array(levels.length);
  const changes = new Float64Array(levels.length);
  for (let i = 0; i <= last; i++) {
    const from = i === 0 ? 0 : (levels[i - 1]! + levels[i]!) / 2;
    const to = i === last ? Number.POSITIVE_INFINITY : (levels[i]! + levels[i + 1]!) / 2;
    const share = cumulative(to) - cumulative(from);
    const mean = (density(from) - density(to)) / share;
    // How the mean moves with the levels below and above, which move the edges of the cell half as far.
    const below = i === 0 ? 0 : (0.5 * density(from) * (mean - from)) / share;
    const above = i === last ? 0 : (0.5 * density(to) * (to - mean)) / share;
    const pivot = 1 - below - above - below * (i === 0 ? 0 : factors[i - 1]!);
    factors[i] = above / pivot;
    changes[i] = (mean - levels[i]! + below * (i === 0 ? 0 : changes[i - 1]!)) / pivot;
  }
  for (let i = last - 1; i >= 0; i--) changes[i]! += factors[i]! * changes[i + 1]!;
  return changes;
}

function density(x: number): number {
  return Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
}

/** Share of a unit Gaussian below x, by its series around 0. */
function cumulative(x: number): number {
  if (x > 8) return 1;
  if (x < -8) return 0;
  let term = x;
  let sum = x;
  for (let n = 3; Math.abs(term) > 1e-17 * Math.abs(sum); n += 2) {
    term *= (x * x) / n;
    sum += term;
  }
  return 0.5 + density(x) * sum;
}

/** Where a share of a unit Gaussian lies below, by bisection. */
function quantile(share: number): number {
  let low = -8;
  let high = 8;
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if (cumulative(middle) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
