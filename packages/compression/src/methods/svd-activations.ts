import { latentKeys } from '../keys/latent-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { subspaceValues } from '../values/subspace-values.ts';

const paper = 'Yu et al. 2024, arXiv 2406.07056';

/** The paper's method for models with RoPE. */
export const svdActivations: CompressionMethod = {
  title: 'SVD-a per layer',
  description: "The paper's method: leading directions of values, and of all rotated keys of a layer together",
  source: `${paper}, section 3`,
  layout: 'latent',
  freeRanks: { basis: 'layer', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'layer', metric: 'identity' }),
  values: subspaceValues({ moment: 'activations', metric: 'identity' }),
};

/** The basis that is best for the scores: its keys are those of KQ-SVD (arXiv 2512.05916) over all heads at once. */
export const svdActivationsMetric: CompressionMethod = {
  title: 'SVD-a per layer, weighted',
  description: 'As svd-a; errors of keys count as the queries see them, errors of values as the output does',
  source: `${paper}, section 3, with query and output metrics`,
  layout: 'latent',
  freeRanks: { basis: 'layer', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'layer', metric: 'query' }),
  values: subspaceValues({ moment: 'activations', metric: 'output' }),
};

export const svdActivationsGrouped: CompressionMethod = {
  title: 'SVD-a per group',
  description: 'As svd-a, but each group of heads has its own latent keys: cheaper scores',
  source: `${paper}, section 3, with a basis per group`,
  layout: 'latent',
  freeRanks: { basis: 'group', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'group', metric: 'identity' }),
  values: subspaceValues({ moment: 'activations', metric: 'identity' }),
};

export const svdActivationsGroupedMetric: CompressionMethod = {
  title: 'SVD-a per group, weighted',
  description: 'As svd-a-grouped; errors of keys count as the queries see them, errors of values as the output does',
  source: `${paper}, section 3, with a basis per group, query and output metrics`,
  layout: 'latent',
  freeRanks: { basis: 'group', stage: 'rotated' },
  needsStatistics: true,
  keys: latentKeys({ basis: 'group', metric: 'query' }),
  values: subspaceValues({ moment: 'activations', metric: 'output' }),
};
