import { latentKeys } from '../keys/latent-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { subspaceValues } from '../values/subspace-values.ts';

/**
 * Per head, the rank-r keys that keep the scores best: the singular value decomposition of rotated keys times rotated
 * queries, which for second moments is the query metric. Values the same way against the output projection. Cache per
 * token: K heads of D*G/K numbers for keys and for values, as much as G heads of D. 'svd-a-grouped-metric' and
 * 'svd-a-metric' spend the same numbers on groups of heads, or on all heads, at once.
 */
export const kqSvd: CompressionMethod = {
  title: 'KQ-SVD',
  description: 'Each head keeps narrower keys, the best for its scores, and narrower values, the best for the output',
  source: 'KQ-SVD, arXiv 2512.05916: decomposition of the products of keys and queries, head by head, after RoPE',
  layout: 'latent',
  valueSlots: 'head',
  needsStatistics: true,
  keys: latentKeys({ basis: 'head', metric: 'query' }),
  values: subspaceValues({ moment: 'activations', metric: 'output' }),
};
