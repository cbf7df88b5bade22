import { rebuiltKeys } from '../keys/rebuilt-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { subspaceValues } from '../values/subspace-values.ts';

export const palu: CompressionMethod = {
  title: 'Palu (rebuilt keys)',
  description:
    'Latents of each group; its keys are rebuilt and rotated at every step, for all positions: exact and slow',
  source: 'Chang et al. 2024 (Palu), arXiv 2407.21118, group-head decomposition with G*D ranks for keys and for values',
  layout: 'latent',
  freeRanks: { basis: 'group', stage: 'projected' },
  needsStatistics: true,
  keys: rebuiltKeys({ metric: 'identity' }),
  values: subspaceValues({ moment: 'activations', metric: 'identity' }),
};
