import { foldedKeys } from '../keys/folded-keys.ts';
import { meanPoolKeys } from '../keys/mean-pool-keys.ts';
import type { CompressionMethod } from '../ports.ts';
import { meanPoolValues } from '../values/mean-pool-values.ts';

export const meanPool: CompressionMethod = {
  title: 'Mean-pool',
  description: 'Each group keeps the mean of its key and value projections',
  source: 'Ainslie et al. 2023, arXiv 2305.13245',
  layout: 'stock',
  needsStatistics: false,
  keys: foldedKeys(meanPoolKeys),
  values: meanPoolValues,
};
