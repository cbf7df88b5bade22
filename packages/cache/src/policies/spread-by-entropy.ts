import type { CachePolicy, HeldTokens } from '@kvlr/core';
import { createMatrix, eigSymmetric } from '@kvlr/linalg';
import { mostAttended } from './most-attended.ts';

/**
 * UNComp (arXiv 2410.03090): slots whose keys say more keep more. A slot's weight is the effective rank of its keys, the exponential of the
 * entropy of the eigenvalues of their covariance over its trace; which of a slot's tokens stay is decided by the last queries' attention, as
 * in SnapKV. The paper also spreads over layers, in groups; here every layer has the same budget.
 */
export const spreadByEntropy: CachePolicy = {
  title: 'more tokens for slots of higher entropy, what the last 32 queries attend to most',
  source: 'arXiv 2410.03090',
  observedQueries: mostAttended.observedQueries,
  spread: (slots) => slots.map(effectiveRank),
  keep: (held) => mostAttended.keep(held),
};

/** exp of the entropy of the normalised eigenvalues of the keys' covariance: 1 to the width. */
export function effectiveRank({
  keys,
  keyWidth: width,
  positions,
}: Pick<HeldTokens, 'keys' | 'keyWidth' | 'positions'>): number {
  const tokens = positions.length;
  const mean = new Float64Array(width);
  keys.forEach((x, i) => {
    mean[i % width]! += x / tokens;
  });
  const covariance = createMatrix(width, width);
  for (let token = 0; token < tokens; token++) {
    for (let i = 0; i < width; i++) {
      const x = keys[token * width + i]! - mean[i]!;
      for (let j = 0; j < width; j++) covariance.data[i * width + j]! += x * (keys[token * width + j]! - mean[j]!);
    }
  }
  const { values } = eigSymmetric(covariance);
  const trace = values.reduce((sum, value) => sum + Math.max(0, value), 0);
  if (trace === 0) return 1;
  const entropy = values.reduce((sum, value) => {
    const share = Math.max(0, value) / trace;
    return share > 0 ? sum - share * Math.log(share) : sum;
  }, 0);
  return Math.exp(entropy);
}
