import { averagedKeys } from '../keys/averaged-keys.ts';
import { foldedKeys } from '../keys/folded-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { subspaceValues } from '../values/subspace-values.ts';

/**
 * CLOVER's pruning of values: per head the singular value decomposition of W_O,h W_V,h, from the weights alone, cut to D*G/K
 * directions. Its counterpart for queries and keys does not exist under RoPE, so keys are those of 'rope-averaged'. Cache per
 * token: G keys of D and K values of D*G/K, as much as G heads of D; the difference to 'rope-averaged' is that of the values.
 */
export const clover: CompressionMethod = {
  title: 'CLOVER values',
  description: 'Each head keeps narrower values, cut by the SVD of its value and output weights; keys as rope-averaged',
  source: 'Meng et al. 2024 (CLOVER), arXiv 2411.17426, for values and output',
  layout: 'latent',
  valueSlots: 'head',
  needsStatistics: true,
  keys: foldedKeys(averagedKeys()),
  values: subspaceValues({ moment: 'weights', metric: 'output' }),
};
