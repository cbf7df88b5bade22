import { foldedKeys } from '../keys/folded-keys.ts';
import { phasorKeys } from '../keys/phasor-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { subspaceValues } from '../values/subspace-values.ts';

export const svdWeights: CompressionMethod = {
  title: 'SVD-w',
  description: 'Leading directions of the weights alone, no text needed; keys per frequency, so that RoPE stays exact',
  source: 'Yu et al. 2024, arXiv 2406.07056, section 3; keys by rank-one complex factors per frequency',
  layout: 'stock',
  needsStatistics: false,
  keys: foldedKeys(phasorKeys({ moment: 'weights', field: 'complex', weights: 'equal' })),
  values: subspaceValues({ moment: 'weights', metric: 'identity' }),
};
