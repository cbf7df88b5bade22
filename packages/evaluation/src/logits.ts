/**
 * Sum over positions of -log softmax(logits)[target], in nats.
 *
 * @param logits [T, vocabSize] float32, row-major.
 * @param targets The token that really came at each of the T positions.
 * @returns NaN or infinity when a logit is not finite.
 */
export function scoreLogits(logits: Float32Array, targets: Int32Array, vocabSize: number): number {
  let total = 0;
  for (let position = 0; position < targets.length; position++) {
    const start = position * vocabSize;
    const end = start + vocabSize;
    let highest = Number.NEGATIVE_INFINITY;
    for (let i = start; i < end; i++) if (logits[i]! > highest) highest = logits[i]!;
    let sum = 0;
    for (let i = start; i < end; i++) sum += expNonpositive(logits[i]! - highest);
    total += Math.log(sum) + highest - logits[start + targets[position]!]!;
  }
  return total;
}

/** Sums over the positions of one window, natural logarithms. */
export interface LogitComparison {
  negativeLogLikelihood: number;
  baseNegativeLogLikelihood: number;
  /** Sum of KL(base || model). */
  klDivergence: number;
  /** Positions at which both put the same token first (the lowest index wins a tie). */
  topOneAgreements: number;
}

/**
 * Scores a model and its base on one window in one pass, log-softmax in Float64.
 * KL(base || model) = sum_v p_base (logit_base - logit_model) - log Z_base + log Z_model, Z the softmax's denominators.
 *
 * @param logits [T, vocabSize] float32, row-major; `baseLogits` likewise.
 * @param targets The token that really came at each of the T positions.
 * @returns NaN or infinity in the sums when a logit is not finite.
 */
export function compareLogits(
  logits: Float32Array,
  baseLogits: Float32Array,
  targets: Int32Array,
  vocabSize: number,
): LogitComparison {
  let negativeLogLikelihood = 0;
  let baseNegativeLogLikelihood = 0;
  let klDivergence = 0;
  let topOneAgreements = 0;
  for (let position = 0; position < targets.length; position++) {
    const start = position * vocabSize;
    const end = start + vocabSize;
    let top = start;
    let baseTop = start;
    for (let i = start + 1; i < end; i++) {
      if (logits[i]! > logits[top]!) top = i;
      if (baseLogits[i]! > baseLogits[baseTop]!) baseTop = i;
    }
    const highest = logits[top]!;
    const baseHighest = baseLogits[baseTop]!;
    let sum = 0;
    let baseSum = 0;
    let weightedGap = 0;
    for (let i = start; i < end; i++) {
      const logit = logits[i]!;
      const baseLogit = baseLogits[i]!;
      const baseWeight = expNonpositive(baseLogit - baseHighest);
      sum += expNonpositive(logit - highest);
      baseSum += baseWeight;
      weightedGap += baseWeight * (baseLogit - logit);
    }
    const logNormaliser = Math.log(sum) + highest;
    const baseLogNormaliser = Math.log(baseSum) + baseHighest;
    const target = start + targets[position]!;
    negativeLogLikelihood += logNormaliser - logits[target]!;
    baseNegativeLogLikelihood += baseLogNormaliser - baseLogits[target]!;
    klDivergence += weightedGap / baseSum - baseLogNormaliser + logNormaliser;
    if (top === baseTop) topOneAgreements++;
  }
  return { negativeLogLikelihood, baseNegativeLogLikelihood, klDivergence, topOneAgreements };
}

const tableSize = 64;
const fractionalPowers = Float64Array.from({ length: tableSize }, (_, index) => 2 ** (index / tableSize));
const inversePowers = Float64Array.from({ length: 1075 }, (_, exponent) => 2 ** -exponent);
const inverseStep = tableSize / Math.LN2;
const step = Math.LN2 / tableSize;

/**
 * exp(x) for x <= 0, to a relative error of a few 1e-14 for x >= -100, several times faster than Math.exp: scoring a window
 * takes it millions of times. x = (64 k + j + r) ln 2 / 64, so exp(x) = 2^k 2^(j/64) exp(r'), the last by Taylor's series
 * (table-driven exponential, Tang 1989). Below -700 it returns 0; NaN stays NaN.
 */
export function expNonpositive(x: number): number {
  if (x < -700) return 0;
  const index = Math.floor(x * inverseStep + 0.5) | 0;
  const rest = x - index * step;
  const series = 1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6 + rest * (1 / 24 + rest * (1 / 120)))));
  return inversePowers[-(index >> 6)]! * fractionalPowers[index & 63]! * series;
}
